"""A small code base, written to disk by tests that index something."""

from pathlib import Path

FILES = {
    "bakery/oven.py": '''"""Ovens and what goes into them."""

import time

TEMPERATURE = 220


class Oven:
    """A box that gets hot."""

    shelves = 3

    def __init__(self):
        self.loaves = []

    def heat_up(self, target=TEMPERATURE):
        """Raise the temperature of the oven until it reaches the target in degrees Celsius."""
        degrees = 20
        while degrees < target:
            degrees += 10
            time.sleep(0)
        return degrees

    def put_in(self, loaf):
        """Place one loaf of bread on a free shelf, or complain that there is no room left."""
        if len(self.loaves) >= self.shelves:
            raise ValueError("no free shelf")
        self.loaves.append(loaf)


def count_crumbs(table):
    """Tell how many crumbs are left lying on the table after breakfast.

    Crumbs under the table are not counted.
    """
    return sum(1 for thing in table if thing == "crumb")
''',
    "bakery/till.py": '''"""Money."""


def total_price(basket, prices):
    """Add up what the customer has to pay for everything in the shopping basket."""
    amount = 0
    for item in basket:
        amount += prices[item]
    return amount


def give_change(paid, amount):
    """Return the coins that the customer gets back, largest coin first."""
    coins = []
    rest = paid - amount
    for coin in (200, 100, 50, 20, 10, 5, 2, 1):
        while rest >= coin:
            coins.append(coin)
            rest -= coin
    return coins


def parse_receipt(text):
    """Read the lines of a printed receipt into pairs of an item and its price."""
    pairs = []
    for line in text.splitlines():
        name, _, price = line.rpartition(" ")
        pairs.append((name, float(price)))
    return pairs
''',
    "smithy/forge.py": '''"""Iron."""


def bend_iron(rod, angle):
    """Bend a glowing iron rod by the given angle without breaking it."""
    if angle > 90:
        raise ValueError("it would break")
    return rod.rotate(angle)


def count_sparks(strokes):
    """Estimate the number of sparks that fly when the hammer strikes the anvil."""
    return sum(stroke.force * 7 for stroke in strokes)


def sharpen(blade):
    """Grind the edge of a dull blade on the whetstone until it can cut paper."""
    while blade.dullness > 0:
        blade.dullness -= 1
    return blade
''',
    "smithy/horses.py": '''"""Horses."""


def shoe_horse(horse, nails=8):
    """Nail four new horseshoes onto the hooves of a patient horse."""
    for hoof in horse.hooves:
        hoof.shoe = ("iron", nails)


def weigh_horse(horse):
    """Find out the weight of a horse in kilograms from its girth and its length."""
    return horse.girth**2 * horse.length / 11877
''',
    "README.md": """# The village

Everything that a village needs.

## Bakery

The bakery opens at five in the morning and sells bread until noon.

## Smithy

```sh
# not a heading
make horseshoes
```
""",
}


def write_village(folder: Path) -> Path:
    """Writes the files below `folder` and returns it."""
    for path, text in FILES.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder
