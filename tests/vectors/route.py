#!/usr/bin/env python3
"""Published answers of `hash`, `modulo` and `weighted-round-robin`, by an implementation of their own.

Regenerate:  python3 tests/vectors/route.py > tests/vectors/route.json
Check:       python3 tests/vectors/route.py | diff - tests/vectors/route.json
Another language: read route.json; for each entry of `keys`, turn `hex` into bytes (`text` is the
same key where it is printable) and compare `point` and `modulo` (for n = 1 .. 7); for each entry of
`rings`, build the ring from `members`, compare the number of `points`, and for the i-th key compare
`owners[i]`: the owner, then the next distinct members along the ring, three at most; for each entry
of `turns`, choose among `members`, all free and none busy, and compare `chosen`: a name for each choice.

Needs Python 3 and nothing else.
"""

import bisect
import hashlib
import json
from fractions import Fraction


def md5(data):
    return hashlib.md5(data).digest()


def words(digest):
    """The four little-endian 32-bit words of a digest."""
    return [int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8, 12)]


def point(key):
    return words(md5(key))[0]


def modulo(key, n):
    return int.from_bytes(md5(key), "big") % n


def thousandths(weight):
    whole, _, decimals = weight.partition(".")
    return int(whole) * 1000 + int(decimals.ljust(3, "0"))


def ring(members):
    """Sorted (point, name): names are ASCII, so comparing text is comparing bytes."""
    points = []
    for name, weight in members:
        for i in range((40 * thousandths(weight) + 500) // 1000):
            points += [(at, name) for at in words(md5(f"{name}-{i}".encode()))]
    return sorted(points)


def owners(points, at, limit=3):
    """The first distinct names at or after a point, wrapping round."""
    start = bisect.bisect_left(points, (at, ""))
    found = []
    for i in range(len(points)):
        name = points[(start + i) % len(points)][1]
        if name not in found:
            found.append(name)
        if len(found) == limit:
            break
    return found


def turns(members, choices):
    """Weighted round robin, in fractions: the clock goes on by 1 / (sum of the weights) with each
    choice; of those whose turn has begun, the one whose turn ends first, then by name."""
    weights = {name: Fraction(thousandths(weight), 1000) for name, weight in members}
    begin = {name: Fraction(0) for name in weights}
    total, clock, chosen = sum(weights.values()), Fraction(0), []
    for _ in range(choices):
        begun = [name for name in weights if begin[name] <= clock]
        name = min(begun, key=lambda name: (begin[name] + 1 / weights[name], name))
        begin[name] += 1 / weights[name]
        clock += 1 / total
        chosen.append(name)
    return chosen


def equal(names, weight="1"):
    return [(name, weight) for name in names]


RINGS = {
    "nobody": [],
    "only weights that round to no point": [("idle", "0"), ("tiny", "0.012")],
    "one": [("img-1", "1")],
    "one with four points": [("img-1", "0.013")],
    "two": equal(["a", "b"]),
    "ten": equal([f"img-{i}" for i in range(10)]),
    "ten after one left": equal([f"img-{i}" for i in range(10) if i != 3]),
    "ten after one joined": equal([f"img-{i}" for i in range(11)]),
    "fractions": [
        ("idle", "0"),
        ("tiny", "0.012"),
        ("least", "0.013"),
        ("half", "0.5"),
        ("one", "1"),
        ("pi", "3.142"),
        ("heavy", "12.125"),
    ],
    "names": [
        ("A", "1"),
        ("a", "1"),
        ("a-1", "1"),
        ("a.b/c_d-E", "1.5"),
        ("0", "1"),
        ("rack/7/host.example-0", "2"),
        ("-", "0.25"),
        ("n" * 128, "1"),
    ],
    "one to a hundred": [("small", "1"), ("large", "100")],
    "crowded, with equal points": equal([f"node-{i}" for i in range(12)], "100"),
}


TURNS = {
    "one": ([("a", "0.5")], 3),
    "equal": (equal(["b", "a", "c"]), 9),
    "five, one, one": ([("a", "5"), ("b", "1"), ("c", "1")], 21),
    "one to ten": ([("small", "1"), ("large", "10")], 33),
    "one large and ten small": ([("large", "10")] + equal([f"small-{i}" for i in range(10)]), 60),
    "fractions": ([("third", "0.333"), ("half", "0.5"), ("pi", "3.142"), ("least", "0.001")], 400),
    "primes": ([("two", "2"), ("three", "3"), ("five", "5"), ("seven", "7"), ("eleven", "11")], 84),
    "extremes": ([("most", "100"), ("more", "99.999"), ("one", "1")], 300),
}


def find(prefix, wanted):
    """The first key of a numbered series whose point is wanted."""
    i = 0
    while True:
        key = f"{prefix}-{i}".encode()
        if wanted(point(key)):
            return key
        i += 1


def edge_keys():
    """Keys that fall to the edges: beyond the last point of a ring, and onto two equal points."""
    last = ring(RINGS["one"])[-1][0]
    keys = [find("wrap", lambda at: at > last)]
    points = ring(RINGS["crowded, with equal points"])
    for before, low, high in zip(points, points[1:], points[2:]):
        if low[0] == high[0] and low[1] != high[1]:
            keys.append(find("tie", lambda at: before[0] < at <= low[0]))
    assert len(keys) > 2, "the crowded ring must have equal points of different names"
    return keys


KEYS = (
    [b"", b" ", b"0", b"a", b"abc", b"message digest", b"user42", b"user 42", b"a=b&c", b"#1", b"100%"]
    + ["Grüße".encode(), "日本語".encode(), "🦊".encode(), b"06fq2v8k3n1zg"]
    + [b"\x00", b"\x00" * 16, b"\xff", b"\xff\xfe\xfd", b"a\x00b", b"line\n", bytes(range(256))]
    + [b"k" * n for n in (55, 56, 57, 63, 64, 65, 119, 120, 128, 1000)]
    + [f"user{i}".encode() for i in range(90)]
    + [f"photos/2026/{i:04}.jpg".encode() for i in range(40)]
    + [md5(bytes([i])) for i in range(40)]
)


def printable(key):
    """The key as text, or None when it has bytes that are no printable UTF-8."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def key_row(key):
    row = {"hex": key.hex()}
    if printable(key) is not None:
        row["text"] = printable(key)
    row["point"] = point(key)
    row["modulo"] = [modulo(key, n) for n in range(1, 8)]
    return row


def main():
    keys = KEYS + edge_keys()
    print("{")
    print('"about": "Published answers of hash, modulo and weighted-round-robin; how to read them: route.py",')
    print('"keys": [')
    print(",\n".join(json.dumps(key_row(key), ensure_ascii=False) for key in keys))
    print('],\n"rings": [')
    for i, (title, members) in enumerate(RINGS.items()):
        points = ring(members)
        listed = [{"name": name, "weight": weight} for name, weight in members]
        print(("," if i else "") + '{"ring": ' + json.dumps(title) + ', "points": ' + str(len(points)))
        print(', "members": ' + json.dumps(listed))
        print(', "owners": [')
        print(",\n".join(json.dumps(owners(points, point(key))) for key in keys))
        print("]}")
    print('],\n"turns": [')
    for i, (title, (members, choices)) in enumerate(TURNS.items()):
        listed = [{"name": name, "weight": weight} for name, weight in members]
        print(("," if i else "") + '{"turns": ' + json.dumps(title))
        print(', "members": ' + json.dumps(listed))
        print(', "chosen": ' + json.dumps(turns(members, choices)) + "}")
    print("]\n}")


if __name__ == "__main__":
    main()
