/* A guest program of the demonstration: floating point, output, arguments. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

int main(int argc, char **argv) {
    int rows = argc > 1 ? atoi(argv[1]) : 22;
    for (int y = 0; y < rows; y++) {
        for (int x = 0; x < 78; x++) {
            double cr = x / 78.0 * 3.2 - 2.3, ci = (double)y / rows * 2.4 - 1.2, zr = 0, zi = 0;
            int n = 0;
            while (n < 5000 && zr * zr + zi * zi < 4) {
                double t = zr * zr - zi * zi + cr;
                zi = 2 * zr * zi + ci;
                zr = t;
                n++;
            }
            putchar(n == 5000 ? '@' : " .,:;=+*#%"[n % 10]);
        }
        putchar('\n');
    }
    struct utsname u;
    uname(&u);
    printf("computed on %s\n", u.machine);
    return 0;
}
