/* Two loops that get hot: one in main, one in a function that it calls. */
#include "check.h"
#include <stdint.h>

__attribute__((noinline)) static uint64_t sum(uint64_t n) {
    uint64_t total = 0;
    for (uint64_t i = 1; i < n; i += 2) { total += i; __asm__ volatile("" : "+r"(total)); }
    return total;
}

int main(int count, char **words) {
    int rounds = count > 1 ? atoi(words[1]) : 30000;
    uint64_t total = 0;
    unsigned __int128 product = 1;
    for (int round = 0; round < rounds; round++) {
        total += sum(100000) - (round ? 2500000000 : 0);
        product = 1;
        for (int i = 1; i <= 25; i++) product *= i;
    }
    char *volatile room = malloc(1 << 20);
    free(room);
    char digits[48], *p = digits + sizeof digits;
    *--p = 0;
    for (; product; product /= 10) *--p = '0' + (int)(product % 10);
    printf("%llu %s\n", (unsigned long long)total, p);
    return 0;
}
