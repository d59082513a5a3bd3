/* floating-point, 400 rounds: polynomials of degree 15 by fused multiply-add, in double and in float, at 10,000 places each round */
#include "bench.h"

#include <math.h>

enum { DEGREE = 15, PLACES = 10000 };

int main(int argc, char **argv) {
    uint64_t sum = 0;
    double wide[DEGREE + 1];
    float narrow[DEGREE + 1];
    for (int i = 0; i <= DEGREE; i++)
        narrow[i] = wide[i] = (double)(int64_t)next() / (1ull << 62);
    for (long round = rounds(argc, argv); round > 0; round--)
        for (int i = 0; i < PLACES; i++) {
            double x = (double)(int64_t)next() / (1ull << 62), y = wide[DEGREE];
            float p = (float)x, q = narrow[DEGREE];
            for (int k = DEGREE - 1; k >= 0; k--) {
                y = fma(y, x, wide[k]);
                q = fmaf(q, p, narrow[k]);
            }
            sum = mix(mix(sum, bits(y)), bits(q));
        }
    return done(sum);
}
