/* floating-point, 1000 rounds: five bodies that attract one another, in double, 1,000 steps each round */
#include "bench.h"

#include <math.h>

enum { BODIES = 5, STEPS = 1000 };

static struct body {
    double x[3], v[3], mass;
} bodies[BODIES];

static void prepare(void) {
    static const double place[3] = {1, 0.625, 0.25}, speed[3] = {-0.375, 0.5, 0.125};
    double momentum[3] = {0};
    for (int i = 1; i < BODIES; i++) {
        struct body *b = &bodies[i];
        b->mass = 1.0 / (256 << i);
        for (int k = 0; k < 3; k++) {
            int turned = (k + i) % 3;
            b->x[k] = (i & 2 ? -4.0 : 4.0) * i * place[turned];
            b->v[k] = (i & 1 ? 1.0 : -1.0) * speed[turned];
            momentum[k] += b->mass * b->v[k];
        }
    }
    bodies[0].mass = 4;
    for (int k = 0; k < 3; k++)
        bodies[0].v[k] = -momentum[k] / bodies[0].mass;
}

static void step(double dt) {
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            double d[3], square = 0;
            for (int k = 0; k < 3; k++) {
                d[k] = bodies[i].x[k] - bodies[j].x[k];
                square += d[k] * d[k];
            }
            double pull = dt / (square * sqrt(square));
            for (int k = 0; k < 3; k++) {
                bodies[i].v[k] -= d[k] * bodies[j].mass * pull;
                bodies[j].v[k] += d[k] * bodies[i].mass * pull;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            bodies[i].x[k] += dt * bodies[i].v[k];
}

int main(int argc, char **argv) {
    uint64_t sum = 0;
    prepare();
    for (long round = rounds(argc, argv); round > 0; round--) {
        for (int i = 0; i < STEPS; i++)
            step(0.0009765625);
        for (int i = 0; i < BODIES; i++)
            sum = mix(mix(sum, bits(bodies[i].x[0])), bits(bodies[i].v[2]));
    }
    return done(sum);
}
