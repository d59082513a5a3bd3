/* floating-point, 160 rounds: the product of two matrices of 96 x 96 doubles */
#include "bench.h"

enum { ORDER = 96 };

static double left[ORDER][ORDER], right[ORDER][ORDER], product[ORDER][ORDER];

int main(int argc, char **argv) {
    uint64_t sum = 0;
    for (int i = 0; i < ORDER * ORDER; i++) {
        left[i / ORDER][i % ORDER] = (double)(int64_t)next() / 9007199254740992.0;
        right[i / ORDER][i % ORDER] = (double)(int64_t)next() / 9007199254740992.0;
    }
    for (long round = rounds(argc, argv); round > 0; round--) {
        for (int i = 0; i < ORDER; i++)
            for (int j = 0; j < ORDER; j++) {
                double cell = 0;
                for (int k = 0; k < ORDER; k++)
                    cell += left[i][k] * right[k][j];
                product[i][j] = cell;
            }
        for (int i = 0; i < ORDER; i++) {
            left[i][i] += 0.125;
            sum = mix(sum, bits(product[i][ORDER - 1 - i]));
        }
    }
    return done(sum);
}
