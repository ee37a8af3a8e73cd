"""What each fixture defines, by kind, as a reader of the fixture sees it."""

EXPECTED = {
    "shelf.c": """
        macro: SPINE
        struct: book; shelf
        enum: wood
        member: shelf_free
        function: shelf_put; shelf_free; shelf_titles
    """,
    "shelf.cpp": """
        module: library
        struct: library.Book
        enum: library.Wood
        type: library.Titles
        class: library.Shelf
        method: library.Shelf.Shelf; library.Shelf.~Shelf; library.Shelf.free; library.Shelf.operator==;
          library.Shelf.put
        member: library.Shelf.put
        function: spine; main
    """,
    "Shelf.cs": """
        module: Library.Shelves
        class: Library.Shelves.Book; Library.Shelves.Shelf
        enum: Library.Shelves.Wood
        interface: Library.Shelves.IShelf
        member: Library.Shelves.IShelf.Put
        type: Library.Shelves.Opened
        method: Library.Shelves.Shelf.Shelf; Library.Shelves.Shelf.Free; Library.Shelves.Shelf.Put;
          Library.Shelves.Shelf.Spine
        struct: Library.Shelves.Label
    """,
    "shelf.css": """
        rule: .shelf; .shelf > .spine:hover, .spine.open; .shelf
    """,
    "shelf.ex": """
        module: Library.Shelf
        function: Library.Shelf.put; Library.Shelf.put; Library.Shelf.spine
        macro: Library.Shelf.shelf
        interface: Library.Opens
        method: Library.Opens.open
    """,
    "shelf.go": """
        struct: Book; Shelf; Stack
        interface: Opener
        member: Opener.Open
        type: Shelves
        function: New; Map; spine
        method: Shelf.Put; Shelf.Free; Stack.Push
    """,
    "Shelf.hs": """
        function: limit; put; count; count; spine
        type: Book; Shelf; Titles
        interface: Opens
        member: Opens.open
        impl: Opens.Shelf
        method: Opens.Shelf.open
    """,
    "Shelf.java": """
        class: Shelf; Paper
        method: Shelf.Shelf; Shelf.put; Shelf.free; Shelf.iterator; Shelf.Book.spine; Shelf.Wood.hard; Paper.Paper
        interface: Shelf.Book; Sealed
        member: Shelf.Book.title
        enum: Shelf.Wood
    """,
    "shelf.jl": """
        module: Library
        type: Library.Thing
        struct: Library.Book; Library.Shelf
        function: Library.put; Library.spine; Library.Base.length
        macro: Library.shelf
    """,
    "shelf.js": """
        function: spine; shelfPath; wrapped; walk; count; close
        class: Shelf
        member: Shelf.#label
        method: Shelf.constructor; Shelf.free; Shelf.open; Shelf.put; open
    """,
    "shelf.kt": """
        type: Titles
        class: Book; Shelf
        enum: Wood
        interface: Opens
        member: Opens.open
        method: Shelf.put; Shelf.open; Shelf.read; Registry.all
        object: Registry
        function: short; spine
    """,
    "shelf.lua": """
        function: spine; Shelf.new; Shelf.free; count; dump
        method: Shelf.put
    """,
    "shelf.ml": """
        type: book; Full; Shelf.t
        module: Shelf
        function: Shelf.empty; Shelf.put; count; spine
        class: cabinet
        method: cabinet.lock
    """,
    "shelf.mli": """
        type: book; Full; Shelf.t
        function: put; Shelf.empty
        module: Shelf
    """,
    "shelf.php": """
        interface: Opens
        member: Opens.open
        trait: Counts
        method: Counts.count; Shelf.__construct; Shelf.put; Shelf.open
        enum: Wood
        class: Shelf
        function: spine
    """,
    "shelf.py": """
        function: spine; Shelf.save.plain; shelf_path; shelf_path
        class: Shelf; Shelf.Label
        method: Shelf.__init__; Shelf.free; Shelf.put; Shelf.Label.text; Shelf.save
    """,
    "shelf.rb": """
        module: Library
        class: Library.Shelf
        method: Library.Shelf.initialize; Library.Shelf.put; Library.Shelf.free?; Library.Shelf.open;
          Library.Shelf.empty
        function: spine
    """,
    "shelf.rs": """
        struct: Book; Shelf
        enum: Wood
        trait: Open
        member: Open.open
        method: Open.first; Shelf.new; Shelf.put; Book.fmt
        impl: Shelf; Book
        function: spine; tests.spines_are_short
        type: Shelves
        macro: shelf
        module: tests
    """,
    "Shelf.scala": """
        class: Book; Shelf
        trait: Opens
        member: Opens.open
        method: Opens.first; Shelf.put; Shelf.open; Shelf.spine
        object: Shelf
        type: Shelf.Titles
        enum: Wood
    """,
    "shelf.sh": """
        function: spine; put; count
    """,
    "shelf.sql": """
        table: shelf; library.book
        view: full_shelf
        function: spine
    """,
    "shelf.swift": """
        type: Titles
        struct: Book
        enum: Wood
        interface: Opens
        member: Opens.open
        class: Shelf
        method: Shelf.init; Shelf.free; Shelf.put; Shelf.open; Shelf.empty
        impl: Shelf
        function: spine
    """,
    "shelf.tf": """
        section: variable.room; resource.library_shelf.oak; output.shelf
    """,
    "shelf.toml": """
        section: limits; books; books; tool.printer
    """,
    "shelf.ts": """
        type: Title
        interface: Book
        member: Book.open; Cabinet.lock; Shelf.books
        enum: Wood
        module: Library
        function: Library.spine; find; find; find; shelfPath; sealed
        class: Shelf; Cabinet
        method: Shelf.constructor; Shelf.first; Shelf.put; Shelf.Symbol.iterator
    """,
    "shelf.tsx": """
        interface: ShelfProps
        function: Shelf; Shelf.toggle; Spine
    """,
    "shelf.yaml": """
        section: books; limits
    """,
    "shelf.zig": """
        struct: Book; Shelf
        enum: Wood
        method: Shelf.put
        function: spine; spines are short
    """,
}


def expected(name):
    """(kind, symbol) of each definition."""
    pairs = []
    kind = ""
    for line in EXPECTED[name].strip().split("\n"):
        if ": " in line and not line.startswith(" " * 10):
            kind, line = line.strip().split(": ", 1)
        pairs += [(kind, symbol.strip()) for symbol in line.split(";") if symbol.strip()]
    return sorted(pairs)
