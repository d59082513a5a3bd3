/* Software floating point: the logistic map, square roots by Newton. */
#include <avr/io.h>
#include <stdint.h>
#include "end.h"

int main(void)
{
    float x = 0.3f, sum = 0;
    for (uint16_t round = 0; round < ROUNDS; round++)
        for (uint8_t k = 0; k < 100; k++) {
            x = 3.7f * x * (1.0f - x);
            float r = 1.0f;
            for (uint8_t i = 0; i < 4; i++)
                r = 0.5f * (r + x / r);
            sum += r;
        }
    end((uint16_t)sum);
}
