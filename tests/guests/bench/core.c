/* integer, 8000 rounds: a linked list sorted and searched, a matrix of integers, a state machine over text, a CRC over the results */
#include "bench.h"

struct node {
    struct node *next;
    int key, place;
};

enum { NODES = 512, ORDER = 24, TEXT = 2048 };

static struct node nodes[NODES];
static int16_t left[ORDER][ORDER], right[ORDER][ORDER];
static int32_t product[ORDER][ORDER];
static char text[TEXT];

static uint16_t crc16(uint16_t crc, uint32_t value) {
    for (int bit = 0; bit < 32; bit++, value >>= 1)
        crc = (crc >> 1) ^ (((crc ^ value) & 1) ? 0xA001 : 0);
    return crc;
}

static struct node *merge(struct node *a, struct node *b, int by_key) {
    struct node head, *tail = &head;
    while (a && b) {
        int first = by_key ? a->key <= b->key : a->place <= b->place;
        struct node **from = first ? &a : &b;
        tail->next = *from;
        tail = *from;
        *from = (*from)->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

static struct node *sort(struct node *list, int by_key) {
    if (!list || !list->next)
        return list;
    struct node *slow = list, *fast = list->next;
    while (fast && fast->next) {
        slow = slow->next;
        fast = fast->next->next;
    }
    struct node *half = slow->next;
    slow->next = 0;
    return merge(sort(list, by_key), sort(half, by_key), by_key);
}

static struct node *reverse(struct node *list) {
    struct node *done = 0;
    while (list) {
        struct node *rest = list->next;
        list->next = done;
        done = list;
        list = rest;
    }
    return done;
}

static int find(const struct node *list, int key) {
    int steps = 0;
    for (; list && list->key != key; list = list->next)
        steps++;
    return steps;
}

static int32_t matrix(int16_t by) {
    int32_t sum = 0;
    for (int i = 0; i < ORDER; i++)
        for (int j = 0; j < ORDER; j++) {
            int32_t cell = 0;
            for (int k = 0; k < ORDER; k++)
                cell += left[i][k] * right[k][j];
            product[i][j] = cell;
        }
    for (int i = 0; i < ORDER; i++)
        for (int j = 0; j < ORDER; j++) {
            sum += (product[i][j] >> 3) & 0xFFF;
            left[i][j] += by;
        }
    return sum;
}

/* Counts the numbers, fractions, names and errors of the text and how often each state was entered. */
static uint32_t machine(void) {
    enum { START, SIGN, WHOLE, POINT, FRACTION, NAME, ERROR, STATES };
    uint32_t entered[STATES] = {0}, sum = 0;
    int state = START;
    for (int i = 0; i < TEXT; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'z';
        int to = state;
        if (c == ' ')
            to = START;
        else
            switch (state) {
            case START: to = digit ? WHOLE : letter ? NAME : c == '-' ? SIGN : c == '.' ? POINT : ERROR; break;
            case SIGN: to = digit ? WHOLE : c == '.' ? POINT : ERROR; break;
            case WHOLE: to = digit ? WHOLE : c == '.' ? FRACTION : ERROR; break;
            case POINT:
            case FRACTION: to = digit ? FRACTION : ERROR; break;
            case NAME: to = letter || digit ? NAME : ERROR; break;
            }
        if (to != state)
            entered[to]++;
        state = to;
    }
    for (int i = 0; i < STATES; i++)
        sum = sum * 31 + entered[i];
    return sum;
}

int main(int argc, char **argv) {
    uint16_t crc = 0;
    for (int i = 0; i < NODES; i++) {
        nodes[i].key = next() & 0x7FFF;
        nodes[i].place = i;
        nodes[i].next = i + 1 < NODES ? &nodes[i + 1] : 0;
    }
    for (int i = 0; i < ORDER * ORDER; i++) {
        left[0][i] = next() & 0xFF;
        right[0][i] = next() & 0xFF;
    }
    for (int i = 0; i < TEXT; i++)
        text[i] = "0123456789 .-abcxyz +  12"[next() % 25];
    struct node *list = nodes;
    for (long round = rounds(argc, argv); round > 0; round--) {
        list = sort(list, 1);
        crc = crc16(crc, find(list, nodes[next() % NODES].key));
        list = reverse(list);
        crc = crc16(crc, find(list, nodes[next() % NODES].key));
        list = sort(list, 0);
        crc = crc16(crc, matrix(round & 7));
        crc = crc16(crc, machine());
        text[next() % TEXT] = "7 .z"[round & 3];
        for (int i = 0; i < 8; i++)
            crc = crc16(crc, product[i][i]);
    }
    return done(crc);
}
