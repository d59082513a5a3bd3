/* Every kernel is run as `kernel ROUNDS` and prints one line: the checksum of all it computed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 0x9E3779B97F4A7C15u;

/* The next of a sequence of 64 random bits (xorshift), the same on every machine. */
static inline uint64_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static inline uint64_t mix(uint64_t sum, uint64_t value) {
    return (sum ^ value) * 0x100000001B3u + (sum >> 29);
}

static inline uint64_t bits(double value) {
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

static inline long rounds(int argc, char **argv) {
    return argc > 1 ? strtol(argv[1], 0, 10) : 1;
}

static inline int done(uint64_t sum) {
    printf("%016llx\n", (unsigned long long)sum);
    return 0;
}
