"""What Python programs spend their time on, a checksum each: calls, objects, floats, dictionaries, strings, generators, sorting, big integers."""

import sys


def calls(n):
    return n if n < 2 else calls(n - 1) + calls(n - 2)


class Body:
    def __init__(self, x, v, mass):
        self.x, self.v, self.mass = x, v, mass

    def step(self, others, dt):
        for other in others:
            if other is not self:
                d = other.x - self.x
                self.v += dt * other.mass * d / (d * d + 0.01) ** 1.5
        self.x += self.v * dt


def objects(rounds):
    bodies = [Body(n * 1.5, (n % 3) - 1.0, 1.0 + n) for n in range(6)]
    for _ in range(rounds):
        for body in bodies:
            body.step(bodies, 1e-3)
    return sum(int(b.x * 1e6) for b in bodies)


def primes(limit):
    sieve = [True] * limit
    for n in range(2, limit):
        if sieve[n]:
            for m in range(n * n, limit, n):
                sieve[m] = False
    return sum(n for n in range(2, limit) if sieve[n])


def words(count):
    seed, found = 1, {}
    for _ in range(count):
        seed = seed * 1103515245 + 12345 & 0x7FFFFFFF
        word = "".join("abcdefghijklmnop"[seed >> k & 15] for k in (8, 12, 16))
        found[word] = found.get(word, 0) + 1
    best = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:100]
    return sum(n * ord(word[0]) for word, n in best) + len(found)


def queens(size, row=0, left=0, down=0, right=0):
    if row == size:
        yield 1
        return
    free = ~(left | down | right) & (1 << size) - 1
    while free:
        bit = free & -free
        free ^= bit
        yield from queens(size, row + 1, (left | bit) << 1, down | bit, (right | bit) >> 1)


def text(lines):
    total = 0
    for n in range(lines):
        line = f"{n:06d},{n * 7 % 1000},{'x' * (n % 20)};end"
        number, second, rest = line.split(",")
        total += int(number) + int(second) * len(rest.replace("x", "yy").upper().partition(";")[0])
    return total


def digits(count):
    a, b = 0, 1
    for _ in range(count):
        a, b = b, a + b
    return sum(map(int, str(a % 10**4000)))


def main():
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(sum(calls(21) for _ in range(scale)))
    print(objects(900 * scale))
    print(primes(40_000 * scale))
    print(words(9000 * scale))
    print(sum(sum(queens(7)) for _ in range(scale)))
    print(text(9000 * scale))
    print(digits(1500 * scale))


main()
