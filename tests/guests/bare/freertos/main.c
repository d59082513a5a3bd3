/* FreeRTOS: a task measures out numbers, another one prints them, a timer interrupts both, and the idle task waits for interrupts. */
#include <FreeRTOS.h>
#include <queue.h>
#include <semphr.h>
#include <task.h>
#include <timers.h>

#define UART (*(volatile uint8_t *)0x10000000)
#define EXIT (*(volatile uint32_t *)0x00100000)
#define NUMBERS 20

static QueueHandle_t queue;
static SemaphoreHandle_t console;
static volatile unsigned beats, idled;

static void say(const char *text)
{
    while (*text)
        UART = *text++;
}

static void number(unsigned value)
{
    if (value > 9)
        number(value / 10);
    UART = '0' + value % 10;
}

void failed(const char *what)
{
    say("failed: ");
    say(what);
    say("\n");
    EXIT = 0x13333;
    for (;;) {}
}

void vApplicationStackOverflowHook(TaskHandle_t task, char *name) { (void)task; failed(name); }
void vApplicationMallocFailedHook(void) { failed("malloc"); }
void vApplicationIdleHook(void) { idled++; __asm__ volatile("wfi"); }

static void produce(void *unused)
{
    TickType_t last = xTaskGetTickCount();
    (void)unused;
    for (unsigned n = 1; n <= NUMBERS; n++) {
        vTaskDelayUntil(&last, 5);
        xQueueSend(queue, &n, portMAX_DELAY);
    }
    vTaskDelete(0);
}

static void consume(void *unused)
{
    unsigned n, sum = 0;
    TickType_t begin = xTaskGetTickCount();
    (void)unused;
    do {
        if (!xQueueReceive(queue, &n, 1000))
            failed("nothing comes");
        sum += n;
        xSemaphoreTake(console, portMAX_DELAY);
        say("got ");
        number(n);
        say("\n");
        xSemaphoreGive(console);
    } while (n < NUMBERS);
    say("sum ");
    number(sum);
    say(xTaskGetTickCount() - begin >= 5 * NUMBERS ? " in time" : " too early");
    say(beats >= 9 ? ", timer runs" : ", no timer");
    say(idled ? ", idle runs\n" : ", no idle\n");
    EXIT = 0x5555;
    for (;;) {}
}

static void beat(TimerHandle_t timer) { (void)timer; beats++; }

int main(void)
{
    queue = xQueueCreate(4, sizeof(unsigned));
    console = xSemaphoreCreateMutex();
    xTaskCreate(produce, "produce", configMINIMAL_STACK_SIZE, 0, 2, 0);
    xTaskCreate(consume, "consume", configMINIMAL_STACK_SIZE, 0, 3, 0);
    xTimerStart(xTimerCreate("beat", 10, 1, 0, beat), 0);
    vTaskStartScheduler();
    failed("the scheduler ended");
}

void *memset(void *to, int value, size_t size)
{
    for (volatile char *p = to; size--;)
        *p++ = (char)value;
    return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
    volatile char *p = to;
    for (const char *q = from; size--;)
        *p++ = *q++;
    return to;
}

size_t strlen(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

extern char bss_end[], bss_start[];
void freertos_risc_v_trap_handler(void);

void begin(void)
{
    memset(bss_start, 0, (size_t)(bss_end - bss_start));
    __asm__ volatile("csrw mtvec, %0" : : "r"(freertos_risc_v_trap_handler));
    main();
}

__attribute__((naked, section(".init"))) void _start(void)
{
    __asm__ volatile(".option push; .option norelax; la gp, __global_pointer$; .option pop; la sp, stack_top; j begin");
}
