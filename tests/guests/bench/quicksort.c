/* integer, 300 rounds: quicksort with the median of three, insertion sort for short runs, of 50,000 random words each round */
#include "bench.h"

enum { COUNT = 50000 };

static uint32_t words[COUNT];

static inline void swap(uint32_t *a, uint32_t *b) {
    uint32_t t = *a;
    *a = *b;
    *b = t;
}

static void quicksort(uint32_t *from, uint32_t *to) { /* both included */
    while (to - from > 12) {
        uint32_t *middle = from + (to - from) / 2, *i = from, *j = to;
        if (*middle < *from)
            swap(middle, from);
        if (*to < *from)
            swap(to, from);
        if (*to < *middle)
            swap(to, middle);
        uint32_t pivot = *middle;
        while (i <= j) {
            while (*i < pivot)
                i++;
            while (*j > pivot)
                j--;
            if (i <= j)
                swap(i++, j--);
        }
        if (j - from < to - i) {
            quicksort(from, j);
            from = i;
        } else {
            quicksort(i, to);
            to = j;
        }
    }
    for (uint32_t *i = from + 1; i <= to; i++) {
        uint32_t value = *i, *j = i;
        for (; j > from && j[-1] > value; j--)
            *j = j[-1];
        *j = value;
    }
}

int main(int argc, char **argv) {
    uint64_t sum = 0;
    for (long round = rounds(argc, argv); round > 0; round--) {
        for (int i = 0; i < COUNT; i++)
            words[i] = next();
        quicksort(words, words + COUNT - 1);
        for (int i = 1; i < COUNT; i++)
            if (words[i - 1] > words[i])
                return 1;
        for (int i = 0; i < COUNT; i += 97)
            sum = mix(sum, words[i]);
    }
    return done(sum);
}
