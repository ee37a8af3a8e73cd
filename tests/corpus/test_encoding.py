"""Texts in many encodings, declared and not: every letter is read, or the file is left out under a reason."""

import random
import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE

import pytest

from homeground.corpus import (
    CorpusConfig,
    LeftOutError,
    Skip,
    Walk,
    chunk_lines,
    decode,
    language_of,
    outline,
    read_text,
)

TEXTS = {
    "german": ("Über die Größe der Öfen wird später entschieden, weil süße Brötchen viel Wärme benötigen.",
               "cp1252 latin-1 iso8859-15"),
    "two German words": ("Größe des Ofens", "cp1252 latin-1"),
    "one German word": ("süß", "cp1252 latin-1"),
    "french": ("Le boulanger prépare la pâte très tôt, puis vérifie la température du four où cuisent les gâteaux.",
               "cp1252 latin-1"),
    "one French word": ("café", "cp1252 latin-1"),
    "à": ("à", "cp1252"),
    "spanish": ("El niño comió una piña. ¿Cuándo volverá? La panadería está cerrada según el señor Muñoz.", "cp1252"),
    "swedish": ("Räksmörgås är en god smörgås på ön, säger Åsa i köket när hon läser.", "cp1252 latin-1"),
    "swedish in short words": ("Kontrollera längden på ån och höjden över Åre", "cp1252 latin-1"),
    "finnish": ("yhtään käyttäjää ei löydy, älä tyhjennä", "cp1252 latin-1"),
    "italian": ("perché è così, e già può andare", "cp1252 latin-1"),
    "portuguese": ("Não há mais opções, função de verificação, você está aí", "cp1252 latin-1"),
    "polish words": ("błąd odczytu", "cp1250"),
    "czech words": ("nesmí být větší než", "cp1250"),
    "romanian": ("mărimea este greşită, încarcă fişierul din nou", "cp1250"),
    "typographic": ("It\u2019s a \u201cquoted\u201d word \u2013 and a dash\u2026 costs 5\u20ac", "cp1252"),
    "polish": ("Zażółć gęślą jaźń. Piekarz wypieka świeże bułki każdego ranka, żeby sąsiedzi mogli zjeść śniadanie.",
               "cp1250 iso8859-2"),
    "czech": ("Příliš žluťoučký kůň úpěl ďábelské ódy. Pekař peče čerstvý chléb každé ráno.", "cp1250"),
    "turkish": ("Fırıncı her sabah taze ekmek pişirir ve güler yüzle dağıtır. Şemsiye, çiçek.", "cp1254"),
    "icelandic": ("Bakarinn bakar ferskt brauð á hverjum morgni, það er gott með smjöri. Þýðing: ofn.", "cp1252"),
    "russian": ("Пекарь каждое утро печёт свежий хлеб и встречает соседей улыбкой.", "cp1251 koi8-r cp866 iso8859-5"),
    "two Russian words": ("Проверка температуры", "cp1251 koi8-r cp866 iso8859-5"),
    "one Russian word": ("хлеб", "cp1251"),
    "greek": ("Ο φούρναρης ψήνει φρέσκο ψωμί κάθε πρωί και χαμογελά στους γείτονες.", "cp1253 iso8859-7"),
    "hebrew": ("האופה אופה לחם טרי כל בוקר ומחייך אל השכנים.", "cp1255"),
    "arabic": ("الخباز يخبز الخبز الطازج كل صباح ويبتسم للجيران.", "cp1256"),
    "thai": ("คนทำขนมปังอบขนมปังสดทุกเช้าและยิ้มให้เพื่อนบ้าน", "cp874"),
    "japanese": ("パン屋は毎朝新しいパンを焼いて、近所の人に笑顔であいさつします。",
                 "shift_jis cp932 euc_jp iso2022_jp"),
    "three Japanese words": ("温度を確認する", "shift_jis euc_jp iso2022_jp"),
    "one Japanese word": ("温度", "shift_jis iso2022_jp"),
    "chinese": ("面包师每天早上烤新鲜的面包，并且微笑着向邻居问好。检查炉子的温度。", "gb18030 gbk gb2312"),
    "two Chinese words": ("检查温度", "gb18030"),
    "one Chinese word": ("温度", "gb18030"),
    "traditional": ("麵包師每天早上烤新鮮的麵包，並且微笑著向鄰居問好。檢查爐子的溫度。", "big5"),
    "korean": ("제빵사는 매일 아침 신선한 빵을 굽고 이웃에게 웃으며 인사합니다.", "euc_kr cp949"),
    "two Korean words": ("온도를 확인한다", "euc_kr cp949"),
}  # fmt: skip
CASES = [(name, encoding) for name, (_, encodings) in TEXTS.items() for encoding in encodings.split()]
CODE = "def heat_up(self, degrees):\n    # {}\n    self.heat = degrees\n    return sorted(self.loaves)\n\n\n"


@pytest.mark.parametrize(("name", "encoding"), CASES)
def test_text_in_an_encoding_that_nothing_declares_is_read(name, encoding):
    text = TEXTS[name][0]
    for whole in (text, CODE.format(text), CODE.format("...") * 30 + CODE.format(text)):
        assert decode(whole.encode(encoding)) == whole


WIDE = [
    "x = 'Größe'\n",
    "Пекарь печёт хлеб.\n",
    "面包师每天早上烤新鲜的面包，并且微笑着\n向邻居问好。\n",
    "plain\r\nASCII\r\n",
    "é\U0001f35e\n",
]


@pytest.mark.parametrize("text", WIDE)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_need_no_byte_order_mark(text, encoding):
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(BOM_UTF8, "utf-8"), (BOM_UTF16_LE, "utf-16-le"), (BOM_UTF16_BE, "utf-16-be"), (BOM_UTF32_LE, "utf-32-le"),
     (BOM_UTF32_BE, "utf-32-be")],
)  # fmt: skip
def test_a_byte_order_mark_decides_and_is_no_text(mark, encoding):
    assert decode(mark + "Größe 面\n".encode(encoding)) == "Größe 面\n"


@pytest.mark.parametrize(
    ("line", "encoding"),
    [
        ("# -*- coding: koi8-r -*-\n# {}\n", "koi8-r"),
        ("#!/usr/bin/env python\n# coding=cp866\n# {}\n", "cp866"),
        ("#!/usr/bin/env python\n# vim: set fileencoding=iso8859-5 :\n# {}\n", "iso8859-5"),
        ("# encoding: Windows-1251\n# {}\n", "cp1251"),
        ('<?xml version="1.0" encoding="koi8-r"?>\n<p>{}</p>\n', "koi8-r"),
        ('<meta charset="windows-1251"><p>{}</p>\n', "cp1251"),
        ("<meta http-equiv='Content-Type' content='text/html; charset=koi8-r'>{}\n", "koi8-r"),
        ('@charset "iso-8859-5";\n/* {} */\n', "iso8859-5"),
        ("// {}\n// vim: fenc=cp866\n", "cp866"),
        ("/* -*- mode: c; coding: cp866-dos -*- */\n/* {} */\n", "cp866"),
        ("; {}\n\n; Local Variables:\n; coding: koi8-r\n; End:\n", "koi8-r"),
    ],
)
def test_what_a_file_declares_comes_before_detection(line, encoding):
    text = line.format("хлеб")
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("declared", ["ascii", "latin-1", "iso-8859-1"])
def test_declared_latin_1_means_cp1252_as_in_browsers(declared):
    text = f"# coding: {declared}\n# it\u2019s 5\u20ac, Größe\n"
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize("declared", ["latin-1", "cp1251", "utf-7", "rot13", "unicode_escape", "hex", "no-such-code"])
def test_valid_utf_8_is_utf_8_whatever_it_declares(declared):
    text = f"# -*- coding: {declared} -*-\n# Größe +AGE- \\u0041\n"
    assert decode(text.encode()) == text


def test_utf_7_is_never_read():
    assert decode(b"# -*- coding: utf-7 -*-\n# +AOk- \xe9t\xe9\n") == "# -*- coding: utf-7 -*-\n# +AOk- été\n"


def test_a_declaration_that_cannot_be_true_is_not_believed():
    assert decode("# coding: utf-8\n# Größe\n".encode("cp1252")).endswith("Größe\n")
    assert decode("# coding: gb18030\n# Bäder café\n".encode("cp1252")).endswith("café\n")


def test_stray_letters_of_cp1252_in_utf_8_cost_nothing():
    data = "Bäckerei Größe süß\nJosé, né à Besançon\n".encode() + "Muñoz\n".encode("cp1252")
    assert decode(data) == "Bäckerei Größe süß\nJosé, né à Besançon\nMuñoz\n"


def test_no_text_is_ever_replaced():
    for name, encoding in CASES:
        assert "\ufffd" not in decode(TEXTS[name][0].encode(encoding))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0\x02\0", Skip.BINARY),
        (b"x = 1\n" * 200 + b"\0", Skip.BINARY),
        (b"ab = 1\n" * 200 + b"xy\0\0", Skip.BINARY),
        (bytes(range(256)) * 2, Skip.BINARY),
        (BOM_UTF16_LE + b"a\0\0\xd8", Skip.BINARY),
        (random.Random(1).randbytes(400).replace(b"\0", b"\1"), Skip.UNDECODABLE),
        (BOM_UTF16_LE + b"\x41\xd8\x41\xd8", Skip.UNDECODABLE),
    ],
)
def test_what_cannot_be_read_is_left_out_under_its_reason(tmp_path, data, reason):
    (tmp_path / "a.py").write_bytes(data)
    walk = Walk(tmp_path)
    assert not list(walk)
    assert walk.skipped == {reason: 1}
    with pytest.raises(LeftOutError) as caught:
        decode(data)
    assert caught.value.reason == reason


def nfd(text):
    return unicodedata.normalize("NFD", text)


def test_symbols_and_embedded_text_are_composed_and_the_files_text_is_kept():
    lines = nfd("def prüfe_größe():\n    '''Café'''\n").split("\n")
    (chunk,) = chunk_lines("a.py", lines, language_of("a.py"))
    assert chunk.symbol == "prüfe_größe"
    assert unicodedata.is_normalized("NFC", chunk.indexed_text)
    assert chunk.text == "\n".join(lines[:2])
    (found,) = outline(lines, language_of("a.py")).definitions
    assert (found.symbol, found.line) == ("prüfe_größe", 1)


def test_a_file_whose_name_is_decomposed_is_found_by_both_spellings_and_opens(tmp_path):
    (tmp_path / nfd("prüfung")).mkdir()
    (tmp_path / nfd("prüfung/größe.py")).write_text("x = 1\n")
    (file,) = Walk(tmp_path)
    assert read_text(file.root / file.path) == ["x = 1", ""]
    for spelled in (nfd("prüfung/"), "prüfung/", "größe.py", nfd("größe.py")):
        assert not list(Walk(tmp_path, CorpusConfig(exclude=[spelled])))
