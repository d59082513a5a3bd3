/* the smallest program that starts and prints */
#include <stdio.h>

int main(void) {
    puts("hello");
    return 0;
}
