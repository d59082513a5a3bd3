/* integer, 1500 rounds: SHA-256 (FIPS 180-4) of 64 KiB each round, chained */
#include "bench.h"

enum { SIZE = 65536 };

static uint32_t constant[64], first[8];
static uint8_t data[SIZE];

/* 32 bits after the binary point of a prime's square (power 2) or cube (power 3) root. */
static uint32_t fraction(int prime, int power) {
    unsigned __int128 goal = (unsigned __int128)prime << (32 * power);
    uint64_t root = 0;
    for (int bit = 36; bit >= 0; bit--) {
        uint64_t candidate = root | (uint64_t)1 << bit;
        unsigned __int128 value = (unsigned __int128)candidate * candidate;
        if (power == 3)
            value *= candidate;
        if (value <= goal)
            root = candidate;
    }
    return (uint32_t)root;
}

static void prepare(void) {
    for (int n = 2, found = 0; found < 64; n++) {
        int prime = 1;
        for (int d = 2; d * d <= n; d++)
            prime &= n % d != 0;
        if (!prime)
            continue;
        if (found < 8)
            first[found] = fraction(n, 2);
        constant[found++] = fraction(n, 3);
    }
}

static inline uint32_t rotate(uint32_t x, int by) {
    return x >> by | x << (32 - by);
}

static void block(uint32_t *state, const uint8_t *in) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)in[4 * i] << 24 | in[4 * i + 1] << 16 | in[4 * i + 2] << 8 | in[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t sum1 = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25), choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t sum0 = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22), major = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        uint32_t t1 = s[7] + sum1 + choice + constant[i] + w[i], t2 = sum0 + major;
        for (int k = 7; k > 0; k--)
            s[k] = s[k - 1];
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

static void sha256(const uint8_t *in, uint64_t length, uint32_t *state) {
    uint8_t tail[128] = {0};
    uint64_t whole = length / 64, rest = length % 64, end = rest < 56 ? 64 : 128;
    memcpy(state, first, sizeof first);
    for (uint64_t i = 0; i < whole; i++)
        block(state, in + 64 * i);
    memcpy(tail, in + 64 * whole, rest);
    tail[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        tail[end - 1 - i] = length * 8 >> 8 * i;
    for (uint64_t i = 0; i < end; i += 64)
        block(state, tail + i);
}

int main(int argc, char **argv) {
    uint32_t digest[8] = {0};
    prepare();
    for (int i = 0; i < SIZE; i++)
        data[i] = next();
    for (long round = rounds(argc, argv); round > 0; round--) {
        sha256(data, SIZE - (round & 63), digest);
        memcpy(data + (round % 1024) * 32, digest, sizeof digest);
    }
    for (int i = 0; i < 8; i++)
        printf("%08x", digest[i]);
    putchar('\n');
    return 0;
}
