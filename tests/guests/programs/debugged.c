/* For debuggers: functions, a global to watch, threads, a signal. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile long counter, other;
double ratio = 0.5;
char text[] = "hello";

__attribute__((noinline)) long twice(long n) { other = n; return n * 2; }
static void *worker(void *a) { counter += twice((long)a); return 0; }
static void caught(int n) { other = n; }

int main(int c, char **v) {
    pthread_t t[3];
    signal(SIGUSR1, caught);
    counter = twice(c + 20);
    ratio = ratio * 3;
    raise(SIGUSR1);
    for (long i = 0; i < 3; i++) { pthread_create(&t[i], 0, worker, (void *)i); pthread_join(t[i], 0); }
    if (c > 1 && !strcmp(v[1], "loop")) for (;;) counter++;
    if (c > 1 && !strcmp(v[1], "sleep")) for (;;) pause();
    if (c > 1 && !strcmp(v[1], "crash")) *(volatile int *)16 = 1;
    printf("%ld %g\n", counter, ratio);
    return 5;
}
