/* integer, 200 rounds: a stack machine of 14 instructions in a switch, running a sieve and a count of primes by division */
#include "bench.h"

enum op { PUSH, LOAD, STORE, ADD, MUL, REM, LESS, EQUAL, JUMP, UNLESS, READ, WRITE, NOTE, HALT };
enum variable { I, J, LIMIT, FOUND };

static int32_t code[256], cells[4096];
static int end;

static int emit(enum op op, int operand) {
    code[end++] = op;
    code[end++] = operand;
    return end - 1; /* where the operand is, to be set later */
}

static void add(enum variable to, enum op op, int operand) {
    emit(LOAD, to), emit(op, operand), emit(ADD, 0), emit(STORE, to);
}

/* for (I = 2; I < LIMIT; I++) if (!cells[I]) { FOUND++; note I; for (J = I * I; J < LIMIT; J += I) cells[J] = 1; } */
static void sieve(void) {
    emit(PUSH, 2), emit(STORE, I);
    int outer = end;
    emit(LOAD, I), emit(LOAD, LIMIT), emit(LESS, 0);
    int finished = emit(UNLESS, 0);
    emit(LOAD, I), emit(READ, 0), emit(PUSH, 0), emit(EQUAL, 0);
    int composite = emit(UNLESS, 0);
    add(FOUND, PUSH, 1), emit(LOAD, I), emit(NOTE, 0);
    emit(LOAD, I), emit(LOAD, I), emit(MUL, 0), emit(STORE, J);
    int inner = end;
    emit(LOAD, J), emit(LOAD, LIMIT), emit(LESS, 0);
    int marked = emit(UNLESS, 0);
    emit(PUSH, 1), emit(LOAD, J), emit(WRITE, 0);
    add(J, LOAD, I), emit(JUMP, inner);
    code[composite] = code[marked] = end;
    add(I, PUSH, 1), emit(JUMP, outer);
    code[finished] = end;
    emit(HALT, 0);
}

/* for (I = 2; I < LIMIT; I++) { for (J = 2; J * J < I + 1 && I % J; J++); if (I < J * J) { FOUND++; note I; } } */
static void division(void) {
    emit(PUSH, 2), emit(STORE, I);
    int outer = end;
    emit(LOAD, I), emit(LOAD, LIMIT), emit(LESS, 0);
    int finished = emit(UNLESS, 0);
    emit(PUSH, 2), emit(STORE, J);
    int inner = end;
    emit(LOAD, J), emit(LOAD, J), emit(MUL, 0), emit(LOAD, I), emit(PUSH, 1), emit(ADD, 0), emit(LESS, 0);
    int tried = emit(UNLESS, 0);
    emit(LOAD, I), emit(LOAD, J), emit(REM, 0);
    int divides = emit(UNLESS, 0);
    add(J, PUSH, 1), emit(JUMP, inner);
    code[tried] = code[divides] = end;
    emit(LOAD, I), emit(LOAD, J), emit(LOAD, J), emit(MUL, 0), emit(LESS, 0);
    int composite = emit(UNLESS, 0);
    add(FOUND, PUSH, 1), emit(LOAD, I), emit(NOTE, 0);
    code[composite] = end;
    add(I, PUSH, 1), emit(JUMP, outer);
    code[finished] = end;
    emit(HALT, 0);
}

static uint64_t run(int start, int32_t limit) {
    int32_t stack[64], variables[4] = {0, 0, limit, 0}, *top = stack;
    uint64_t sum = 0;
    for (const int32_t *at = code + start;; at += 2)
        switch (at[0]) {
        case PUSH: *top++ = at[1]; break;
        case LOAD: *top++ = variables[at[1]]; break;
        case STORE: variables[at[1]] = *--top; break;
        case ADD: top--; top[-1] += *top; break;
        case MUL: top--; top[-1] *= *top; break;
        case REM: top--; top[-1] %= *top; break;
        case LESS: top--; top[-1] = top[-1] < *top; break;
        case EQUAL: top--; top[-1] = top[-1] == *top; break;
        case JUMP: at = code + at[1] - 2; break;
        case UNLESS:
            if (!*--top)
                at = code + at[1] - 2;
            break;
        case READ: top[-1] = cells[top[-1]]; break;
        case WRITE: top -= 2; cells[top[1]] = *top; break;
        case NOTE: sum = mix(sum, *--top); break;
        case HALT: return mix(sum, variables[FOUND]);
        }
}

int main(int argc, char **argv) {
    uint64_t sum = 0;
    int first, second;
    first = end;
    sieve();
    second = end;
    division();
    for (long round = rounds(argc, argv); round > 0; round--) {
        int32_t limit = 3000 + next() % 1096;
        memset(cells, 0, sizeof cells);
        uint64_t a = run(first, limit), b = run(second, limit);
        if (a != b)
            return 1;
        sum = mix(sum, a);
    }
    return done(sum);
}
