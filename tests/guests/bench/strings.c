/* integer, 300 rounds: the C library's string functions over 32 KiB of words, and counting the words in a hash table */
#include "bench.h"

enum { SIZE = 32768, SLOTS = 1 << 12 };

struct slot {
    const char *word;
    int length, count;
};

static char text[SIZE + 1], copy[SIZE + 1], upper[SIZE + 1];
static struct slot slots[SLOTS];

static void fill(void) {
    int at = 0;
    while (at < SIZE) {
        uint64_t r = next();
        int length = 1 + (r & 7);
        for (int i = 0; i < length && at < SIZE; i++)
            text[at++] = 'a' + (r >> (8 + 4 * i) & 15);
        if (at < SIZE)
            text[at++] = r >> 60 ? ' ' : '\n';
    }
}

static uint64_t count(char *from) {
    uint64_t used = 0, most = 0;
    memset(slots, 0, sizeof slots);
    while (*from) {
        char *word = from;
        while (*from > ' ')
            from++;
        int length = from - word;
        if (*from)
            *from++ = 0;
        uint32_t hash = 2166136261u;
        for (int i = 0; i < length; i++)
            hash = (hash ^ (uint8_t)word[i]) * 16777619u;
        uint32_t at = hash >> 20;
        while (slots[at].word && (slots[at].length != length || strcmp(slots[at].word, word)))
            at = (at + 1) % SLOTS;
        if (!slots[at].word && used < SLOTS / 2) {
            slots[at].word = word;
            slots[at].length = length;
            used++;
        }
        if (slots[at].word && (uint64_t)++slots[at].count > most)
            most = slots[at].count;
    }
    return used << 32 | most;
}

int main(int argc, char **argv) {
    uint64_t sum = 0;
    char needle[8];
    fill();
    for (long round = rounds(argc, argv); round > 0; round--) {
        strcpy(copy, text);
        memmove(copy + 7, copy, SIZE - 7);
        for (int i = 0; i < SIZE; i++)
            upper[i] = copy[i] >= 'a' && copy[i] <= 'z' ? copy[i] - 32 : copy[i];
        sum = mix(sum, strlen(upper) + strcmp(upper, copy));
        for (char *line = copy; line; line = strchr(line + 1, '\n'))
            sum = mix(sum, line - copy);
        for (int i = 0; i < 4; i++) {
            memcpy(needle, text + next() % (SIZE - 8), 6);
            needle[6] = 0;
            char *found = strstr(text, needle);
            sum = mix(sum, found ? found - text : -1);
        }
        sum = mix(sum, memcmp(copy + 7, text, SIZE - 7) == 0);
        sum = mix(sum, count(copy));
        text[next() % SIZE] = 'a' + (round & 15);
    }
    return done(sum);
}
