"""A small code base in Go, TypeScript and Rust, generated from sentences, for tests of the chain from end to end."""

from pathlib import Path

# Of each file: functions as (name, what it does, the expression that it returns).
FILES: dict[str, list[tuple[str, str, str]]] = {
    "mill/grain.go": [
        ("SackWeight", "weighs every sack that the farmers brought before noon", "grams * sacks / 1000"),
        ("Moisture", "estimates how much water the wheat holds after a rainy week", "wet - dry"),
        ("Husks", "separates the bran from what goes into white bread", "total - kernels"),
    ],
    "mill/wheel.go": [
        ("Spin", "turns the wooden paddles at the speed of the stream", "stream * paddles"),
        ("Brake", "slows the axle down when the river floods the meadow", "axle - friction"),
        ("Grease", "tells how many spoons of tallow the bearings want each month", "bearings * 2"),
    ],
    "mill/flour.go": [
        ("Sift", "counts the passes through the finest cloth until no lump is left", "lumps / cloth"),
        ("Price", "charges bakers less for each barrel beyond the tenth", "barrels * coins"),
        ("Blend", "mixes rye and spelt in the proportion of an old recipe", "rye + spelt"),
    ],
    "mill/store.go": [
        ("Shelves", "finds room for jars along the northern wall of the cellar", "wall / jar"),
        ("Mice", "guesses how many traps keep rodents away in winter", "rodents + traps"),
        ("Rotate", "moves the oldest goods to the front before they spoil", "oldest - newest"),
    ],
    "dairy/milk.ts": [
        ("skim", "Takes the cream off the top once the pail has cooled", "pail - cream"),
        ("pasteurize", "Holds a batch at a gentle heat until germs are gone", "heat * minutes"),
        ("pour", "Fills glass bottles for the doorsteps of the upper street", "litres / bottles"),
    ],
    "dairy/cheese.ts": [
        ("curdle", "Adds rennet so that solids part from the whey", "rennet * litres"),
        ("ripen", "Counts the weeks that a wheel lies in the damp cave", "weeks + days / 7"),
        ("brine", "Dissolves salt for a bath in which rinds grow firm", "salt / water"),
    ],
    "dairy/butter.ts": [
        ("churn", "Beats fat globules together until buttermilk runs off", "strokes * fat"),
        ("knead", "Presses the last drops of liquid out of a golden lump", "lump - drops"),
        ("wrap", "Folds parchment around half a pound for the market stall", "pounds * 2"),
    ],
    "dairy/herd.ts": [
        ("graze", "Leads cows to the pasture with the tallest clover", "clover * cows"),
        ("shelter", "Brings animals under a roof before thunder arrives", "animals - stalls"),
        ("feed", "Divides hay among calves by their age in months", "hay / calves"),
    ],
    "orchard/tree.rs": [
        ("prune", "Cuts branches that cross each other in late winter.", "branches - crossing"),
        ("graft", "Joins a twig of a sweet variety to a hardy root.", "twig + root"),
        ("mulch", "Spreads bark chips around young stems against drought.", "stems * chips"),
    ],
    "orchard/harvest.rs": [
        ("pick", "Gathers ripe fruit from ladders into wicker baskets.", "ladders * baskets"),
        ("sort", "Puts bruised pears aside for the cider press.", "pears - bruised"),
        ("carry", "Loads crates onto the cart that leaves at dawn.", "crates / carts"),
    ],
    "orchard/cider.rs": [
        ("crush", "Squeezes juice from a heap of chopped apples.", "heap * juice"),
        ("ferment", "Lets yeast turn sugar into alcohol in oak casks.", "sugar / yeast"),
        ("bottle", "Seals corks with wax so that bubbles stay inside.", "corks + wax"),
    ],
    "orchard/bees.rs": [
        ("smoke", "Calms the swarm before a keeper lifts the lid.", "swarm - keeper"),
        ("extract", "Whirls combs in a drum to fling out honey.", "combs * honey"),
        ("winter", "Insulates hives with straw while frost lasts.", "hives + straw"),
    ],
}


def write_hamlet(folder: Path) -> Path:
    """Write the code base and return its folder."""
    for path, functions in FILES.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        head = "package mill\n\n" if file.suffix == ".go" else ""
        file.write_text(head + "\n".join(_WRITERS[file.suffix](*one) for one in functions))
    return folder


def _names(value: str) -> list[str]:
    return sorted({word for word in value.split() if word.isalpha()})


def _go(name: str, does: str, value: str) -> str:
    return (
        f"// {name} {does}.\nfunc {name}({', '.join(_names(value))} int) int {{\n"
        f"\tresult := {value}\n\tif result < 0 {{\n\t\treturn 0\n\t}}\n\treturn result\n}}\n"
    )


def _typescript(name: str, does: str, value: str) -> str:
    given = ", ".join(f"{one}: number" for one in _names(value))
    return (
        f"/**\n * {does}.\n *\n * @returns a number that is never negative\n */\n"
        f"export function {name}({given}): number {{\n  const result = {value};\n  return Math.max(result, 0);\n}}\n"
    )


def _rust(name: str, does: str, value: str) -> str:
    given = ", ".join(f"{one}: i64" for one in _names(value))
    return f"/// {does}\npub fn {name}({given}) -> i64 {{\n    let result = {value};\n    result.max(0)\n}}\n"


_WRITERS = {".go": _go, ".ts": _typescript, ".rs": _rust}
