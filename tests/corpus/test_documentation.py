"""Documentation comments: what each language's definitions are said to do, and exactly where it is said."""

from __future__ import annotations

import pytest

from homeground.corpus import outline
from homeground.corpus.documentation import Documentation, documentation
from homeground.corpus.languages import LANGUAGES, Language

# A source for each language, and the summaries that its definitions have.
SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "python": (
        '''
import os

@cached
def area(width, height):
    """Square metres of a room, e.g. of a hall. Rounded down.

    Args:
        width: metres.
    """
    # a plain remark
    return width * height


class Basket:
    r"""Items that a customer wants to buy.

    :param items: any
    """

    async def total(self): "Sum of the :class:`Item` prices."

# Counts what is left
def left():
    return 0


def bare(): ...
''',
        {
            "area": "Square metres of a room, e.g. of a hall.",
            "Basket": "Items that a customer wants to buy.",
            "Basket.total": "Sum of the Item prices.",
            "left": "Counts what is left",
        },
    ),
    "javascript": (
        """
/**
 * Adds the prices of a basket.
 * @param {Item[]} items
 */
export function sum(items) { return 0 }

/** Basket is what a customer holds. See {@link Item|the item}. */
export class Basket {
  /** Empties the basket again. */
  @action clear() {}
}

/** Parses a date strictly. */
export const parse = (text) => text;
""",
        {
            "sum": "Adds the prices of a basket.",
            "Basket": "What a customer holds.",
            "Basket.clear": "Empties the basket again.",
            "parse": "Parses a date strictly.",
        },
    ),
    "typescript": (
        """
/**
 * A price with its currency.
 * @remarks never negative
 */
export interface Price {
  /** Converts to another currency. */
  convert(to: string): Price;
}

// eslint-disable-next-line
export function plain(): void {}

/** Rounds half up to `digits` places. */
@pure()
export abstract class Rounder {}
""",
        {
            "Price": "A price with its currency.",
            "Price.convert": "Converts to another currency.",
            "Rounder": "Rounds half up to digits places.",
        },
    ),
    "tsx": (
        "/** Shows the basket as a list. */\nexport function BasketView() {\n  return <ul />;\n}\n",
        {"BasketView": "Shows the basket as a list."},
    ),
    "go": (
        """
// Copyright 2024 The Authors. All rights reserved.

package shop

// Sum adds the prices of a basket;
// it ignores what is sold out. It never fails.
//
// Deprecated: use Total.
func Sum(items []Item) int { return 0 }

// A Basket is what a customer holds.
type Basket struct{}

//go:noinline
func fast() {}

/* Clear empties the basket again. */
func (b *Basket) Clear() {}

// x := old()
// return x
func commentedOut() {}
""",
        {
            "Sum": "Adds the prices of a basket; it ignores what is sold out.",
            "Basket": "What a customer holds.",
            "Basket.Clear": "Empties the basket again.",
        },
    ),
    "rust": (
        """
/// Adds the prices of a [`Basket`].
///
/// # Examples
/// ```
/// sum(&[]);
/// ```
#[inline]
pub fn sum(items: &[Item]) -> u32 { 0 }

/// What a customer holds.
#[derive(Debug)]
pub struct Basket;

impl Basket {
    /** Empties the basket again. */
    pub fn clear(&mut self) {}
}

mod prices {
    //! Prices in whole cents.
    //! Never floats.

    fn inner() {}
}
""",
        {
            "sum": "Adds the prices of a Basket.",
            "Basket": "What a customer holds.",
            "Basket.clear": "Empties the basket again.",
            "prices": "Prices in whole cents.",
        },
    ),
    "java": (
        """
/**
 * What a customer holds, as a {@code List}.
 *
 * @author nobody
 */
@Entity
public class Basket {
  /**
   * Adds the prices &amp; the taxes.
   * <p>Slow.
   */
  @Override
  public int sum() { return 0; }

  /// Empties the basket again.
  void clear() {}
}
""",
        {
            "Basket": "What a customer holds, as a List.",
            "Basket.sum": "Adds the prices & the taxes.",
            "Basket.clear": "Empties the basket again.",
        },
    ),
    "kotlin": (
        """
/**
 * Adds the prices of a [Basket].
 * @return cents
 */
@JvmStatic
fun sum(items: List<Item>): Int = 0

/** What a customer holds. */
class Basket {
    /** Empties the basket again. */
    fun clear() {}
}
""",
        {
            "sum": "Adds the prices of a [Basket].",
            "Basket": "What a customer holds.",
            "Basket.clear": "Empties the basket again.",
        },
    ),
    "scala": (
        """
/** Adds the prices of a basket.
  *
  * @param items any
  */
def sum(items: List[Int]): Int = 0

/** What a customer holds. */
class Basket {
  /** Empties the basket again. */
  def clear(): Unit = ()
}
""",
        {
            "sum": "Adds the prices of a basket.",
            "Basket": "What a customer holds.",
            "Basket.clear": "Empties the basket again.",
        },
    ),
    "c": (
        """
/*
 * sum - add the prices of a basket
 * @items: any
 */
int sum(const int *items) { return 0; }

/** @brief Empty the basket again.
 *  @param b any
 */
static void clear(struct basket *b) { }

struct basket { int n; }; ///< What a customer holds.
""",
        {"sum": "Add the prices of a basket", "clear": "Empty the basket again.", "basket": "What a customer holds."},
    ),
    "cpp": (
        """
/// \\brief Adds the prices of a basket.
/// \\param items any
template <typename T>
T sum(const std::vector<T>& items) { return T{}; }

/*! What a customer holds. */
class Basket {
 public:
  //! Empties the basket again.
  void clear() {}
};
""",
        {
            "sum": "Adds the prices of a basket.",
            "Basket": "What a customer holds.",
            "Basket.clear": "Empties the basket again.",
        },
    ),
    "csharp": (
        """
/// <summary>
/// What a customer holds; see <see cref="T:Shop.Item"/>.
/// </summary>
/// <remarks>Slow.</remarks>
[Serializable]
public class Basket {
    /// <summary>Adds the <c>prices</c> of the items.</summary>
    /// <returns>cents</returns>
    public int Sum() { return 0; }
}
""",
        {"Basket": "What a customer holds; see Shop.Item.", "Basket.Sum": "Adds the prices of the items."},
    ),
    "ruby": (
        """
# frozen_string_literal: true

# What a customer holds.
class Basket
  # Adds the prices of the items.
  #
  # @return [Integer] cents
  def sum
    0
  end

  # :nodoc:
  def hidden; end
end
""",
        {"Basket": "What a customer holds.", "Basket.sum": "Adds the prices of the items."},
    ),
    "php": (
        """<?php
/**
 * What a customer holds.
 *
 * @package Shop
 */
#[Entity]
final class Basket
{
    /**
     * Adds the prices of the items.
     *
     * @return int cents
     */
    public function sum(): int { return 0; }

    /** {@inheritdoc} */
    public function clear(): void {}
}
""",
        {"Basket": "What a customer holds.", "Basket.sum": "Adds the prices of the items."},
    ),
    "swift": (
        """
/// Adds the prices of a basket.
///
/// - Parameter items: any
@inlinable
public func sum(_ items: [Int]) -> Int { return 0 }

/** What a customer holds. */
struct Basket {
    /// Empties the basket again.
    mutating func clear() {}
}
""",
        {
            "sum": "Adds the prices of a basket.",
            "Basket": "What a customer holds.",
            "Basket.clear": "Empties the basket again.",
        },
    ),
    "lua": (
        """
--- Adds the prices of a basket.
---@param items number[]
---@return number
function sum(items) return 0 end

--[[
Empties the basket again.
]]
local function clear() end
""",
        {"sum": "Adds the prices of a basket.", "clear": "Empties the basket again."},
    ),
    "bash": (
        """#!/usr/bin/env bash
# Adds the prices of a basket.
# Globals:
#   ITEMS
sum() {
  echo 0
}

# shellcheck disable=SC2034
quiet() { :; }
""",
        {"sum": "Adds the prices of a basket."},
    ),
    "sql": (
        """
-- Every basket of every customer.
CREATE TABLE baskets (id integer);

CREATE VIEW totals AS SELECT 1;

COMMENT ON VIEW totals IS 'Sums of the customer''s baskets.';
""",
        {"baskets": "Every basket of every customer.", "totals": "Sums of the customer's baskets."},
    ),
    "haskell": (
        """module Shop where

-- | Adds the prices of a basket.
--   Never fails.
sum' :: [Int] -> Int
sum' = foldr (+) 0

{-| What a customer holds. -}
data Basket = Basket
""",
        {"sum'": "Adds the prices of a basket.", "Basket": "What a customer holds."},
    ),
    "elixir": (
        '''
defmodule Shop.Basket do
  @moduledoc """
  What a customer holds.
  """

  @doc "Adds the prices of the items."
  @spec sum(list) :: integer
  def sum(items), do: 0

  @doc ~S"""
  Empties the basket again.

  ## Examples
  """
  def clear(basket) do
    basket
  end

  @doc false
  def hidden(x), do: x
end
''',
        {
            "Shop.Basket": "What a customer holds.",
            "Shop.Basket.sum": "Adds the prices of the items.",
            "Shop.Basket.clear": "Empties the basket again.",
        },
    ),
    "ocaml": (
        """
(** [sum items] adds the prices of a basket.
    @param items any *)
let sum items = List.fold_left (+) 0 items

(** What a customer holds. *)
type basket = { n : int }
""",
        {"sum": "Adds the prices of a basket.", "basket": "What a customer holds."},
    ),
    "zig": (
        """
/// Adds the prices of a basket.
pub fn sum(items: []const u32) u32 {
    return 0;
}

/// What a customer holds.
const Basket = struct {
    /// Empties the basket again.
    fn clear(self: *Basket) void {}
};
""",
        {
            "sum": "Adds the prices of a basket.",
            "Basket": "What a customer holds.",
            "Basket.clear": "Empties the basket again.",
        },
    ),
    "julia": (
        '''
"""
    total(items)

Add the prices of a basket.
"""
function total(items)
    0
end

"What a customer holds."
struct Basket
    n::Int
end
''',
        {"total": "Add the prices of a basket.", "Basket": "What a customer holds."},
    ),
    "hcl": (
        """
# Where the baskets are kept.
resource "aws_s3_bucket" "baskets" {
  bucket = "baskets"
}
""",
        {"resource.aws_s3_bucket.baskets": "Where the baskets are kept."},
    ),
}


def row(name: str) -> Language:
    return next(language for language in LANGUAGES if language.name == name)


def found(language: str, source: str) -> list[Documentation]:
    return documentation(source.split("\n"), row(language))


@pytest.mark.parametrize("language", SOURCES)
def test_every_language_says_what_its_definitions_do(language: str) -> None:
    source, expected = SOURCES[language]
    assert {one.symbol: one.summary for one in found(language, source) if not one.unusable} == expected


@pytest.mark.parametrize("language", SOURCES)
def test_what_remains_without_the_comments_defines_the_same(language: str) -> None:
    source, _ = SOURCES[language]
    language_row = row(language)
    lines = [line.encode() for line in source.split("\n")]
    for one in found(language, source):
        for (first, left), (last, right) in one.spans:
            for number in range(first, last + 1):
                start = left if number == first else 0
                stop = right if number == last else len(lines[number - 1])
                line = lines[number - 1]
                lines[number - 1] = line[:start] + b" " * (min(stop, len(line)) - start) + line[stop:]
    left_over = [line.decode() for line in lines]
    assert not any(one.text for one in found(language, "\n".join(left_over)))
    before = [(one.symbol, one.line) for one in outline(source.split("\n"), language_row).definitions]
    assert [(one.symbol, one.line) for one in outline(left_over, language_row).definitions] == before


BANNERS = {
    "typescript": [
        "//// METHODS ////", "// ---- helper functions ----", "//////////////\n//  $ZodLazy  //\n//////////////",
        "// -- public helpers --", "// ======\n// Public methods\n// ======",
        "/************\n * Public methods\n ************/",
        "// ─── Public methods ───", "/* ==== Public methods ==== */",
    ],
    "go": ["// ---- helper functions ----", "// ***\n// Helper functions\n// ***", "//////// helper functions"],
    "cpp": ["//===----------===//\n// Helper functions\n//===----------===//", "/*--- helper functions ---*/"],
    "python": ["# ---- helper functions ----", "########\n# Helper functions\n########", "# --- helper functions"],
    "lua": ["-------------\n-- Helper functions\n-------------", "---- Helper functions ----"],
    "ruby": ["# ---- helper functions ----", "#######\n# Helper functions\n#######"],
    "sql": ["-- ==== helper tables ====", "-----------\n-- Helper tables\n-----------"],
}  # fmt: skip
DEFINED = {
    "typescript": "export function f() {}",
    "go": "func f() {}",
    "cpp": "void f() {}",
    "python": "def f(): ...",
    "lua": "function f() end",
    "ruby": "def f; end",
    "sql": "CREATE TABLE f (id integer);",
}


@pytest.mark.parametrize(("language", "banner"), [(name, one) for name, some in BANNERS.items() for one in some])
def test_a_banner_documents_nothing(language: str, banner: str) -> None:
    (one,) = found(language, f"{banner}\n{DEFINED[language]}\n")
    assert (one.summary, bool(one.unusable)) == ("", True)


@pytest.mark.parametrize(
    ("language", "comment", "summary"),
    [
        ("cpp", "/*-------\n * Adds the prices of a basket.\n *-------*/", "Adds the prices of a basket."),
        ("typescript", "/** @internal Adds the prices. */", "Adds the prices."),
        ("typescript", "/**\n * @internal\n * Adds the prices.\n */", "Adds the prices."),
        ("go", "// https://example.org/a says why", "https://example.org/a says why"),
        ("go", "// f()\n// adds the prices of a basket", "Adds the prices of a basket"),
        ("go", "//nolint:all // a reason\n// f does it too.", "Does it too."),
        ("go", "// f does it:\n//\tx := 1\n//\ty := 2\n//\tz := 3", "Does it:"),
        ("typescript", "/** Region of the map that is drawn. */", "Region of the map that is drawn."),
        ("cpp", "/**\n * struct f - coalescing of interrupts\n * @a: any\n */", "Coalescing of interrupts"),
        ("cpp", "/* 3.7.2. Input terminal descriptor */", "Input terminal descriptor"),
        ("typescript", "/** {@return the number of errors} */", "The number of errors"),
        ("rust", "/// Returns:\n///     The number of errors.", "The number of errors."),
        ("rust", "/// The f of this element.", "The f of this element."),
        ("rust", "/// Wraps lines in a `<span>` element.", "Wraps lines in a <span> element."),
        ("rust", "/// Options that are needed for\n/// loading a book.", "Options that are needed for loading a book."),
    ],
)  # fmt: skip
def test_words_in_an_odd_form_are_kept(language: str, comment: str, summary: str) -> None:
    (one,) = found(language, f"{comment}\n{DEFINED.get(language, 'fn f() {}')}\n")
    assert (one.summary, one.unusable) == (summary, "")
