// C++ exceptions and thread-local storage, across shared libraries and threads.  Built twice: with LIBRARY as libthrower.so; or once, with
// SMALL, as a static program that does a little of it.
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <typeinfo>
#include <vector>

struct Guard {  // counts what unwinding destroys
    static std::atomic<int> alive;
    Guard() { alive++; }
    ~Guard() { alive--; }
};

struct Odd : std::runtime_error {
    int number;
    Odd(int n) : std::runtime_error("odd " + std::to_string(n)), number(n) {}
    ~Odd() override;
    virtual int twice() const;
};

struct Counter {
    static std::atomic<int> made, gone;
    int n = 0;
    Counter() { made++; }
    ~Counter() { gone++; }
};

extern thread_local Counter counter;  // the library's
extern thread_local int plain;
int deep(int depth, int n);
void through(const std::function<void()>& f);

#if defined LIBRARY || defined SMALL
std::atomic<int> Guard::alive, Counter::made, Counter::gone;
thread_local Counter counter;
thread_local int plain = 5;
Odd::~Odd() = default;
int Odd::twice() const { return 2 * number; }
int deep(int depth, int n) {
    Guard g;
    if (depth == 0) {
        if (n & 1) throw Odd(n);
        return n;
    }
    return deep(depth - 1, n) + 0 * Guard::alive;
}
void through(const std::function<void()>& f) {
    Guard g;
    try { f(); } catch (int) { throw; } catch (const std::logic_error& e) { std::throw_with_nested(std::runtime_error("outer")); }
}
#endif
#ifndef LIBRARY

static int failures;
#define CHECK(x) do { if (!(x)) { failures++; fprintf(stderr, "exceptions.cpp:%d: %s\n", __LINE__, #x); } } while (0)

static void libraries() {
    for (int n = 0; n < 200; n++) {
        try { CHECK(deep(n % 30, n) == n); CHECK(!(n & 1)); }
        catch (const std::runtime_error& e) {
            CHECK(n & 1); CHECK(std::string(e.what()) == "odd " + std::to_string(n));
            CHECK(dynamic_cast<const Odd&>(e).twice() == 2 * n);
        }
    }
    CHECK(Guard::alive == 0);
    try { through([] { Guard g; throw 42; }); CHECK(0); } catch (int n) { CHECK(n == 42); }
    try { through([] { Guard g; std::vector<int>().at(3); }); CHECK(0); }
    catch (const std::exception& e) {
        CHECK(std::string(e.what()) == "outer");
        try { std::rethrow_if_nested(e); CHECK(0); } catch (const std::out_of_range&) {}
    }
    CHECK(Guard::alive == 0);
    try { std::exception e; std::exception& r = e; (void)dynamic_cast<Odd&>(r); CHECK(0); } catch (const std::bad_cast&) {}
    try { throw std::system_error(ENOENT, std::generic_category()); } catch (const std::system_error& e) { CHECK(e.code().value() == ENOENT); }
    try { std::string(1, 'x').substr(2); CHECK(0); } catch (const std::out_of_range&) {}
    try { (void)new char[~size_t() / 4]; CHECK(0); } catch (const std::bad_alloc&) {}
}

static int compare(const void* a, const void* b) {
    if (*(const int*)a == 13) throw Odd(13);
    return *(const int*)a - *(const int*)b;
}

static void through_c() {
    int values[] = {5, 3, 13, 8, 1, 9};
    try { qsort(values, 6, sizeof(int), compare); CHECK(0); } catch (const Odd& e) { CHECK(e.number == 13); }
}

static void threads() {
    std::atomic<int> caught{0}, local{0};
    std::vector<std::thread> all;
    for (int k = 0; k < 8; k++)
        all.emplace_back([&, k] {
            CHECK(plain == 5); plain = k; counter.n = 100 * k;
            for (int n = 0; n < 300; n++)
                try { deep(n % 10, n); } catch (const Odd& e) { caught += e.number == n; counter.n++; }
            local += plain == k && counter.n == 100 * k + 150;
        });
    for (auto& t : all) t.join();
    CHECK(caught == 8 * 150); CHECK(local == 8); CHECK(plain == 5); CHECK(Guard::alive == 0);
    CHECK(Counter::made == 8); CHECK(Counter::gone == 8);

    std::exception_ptr carried;
    std::thread([&] { try { deep(3, 77); } catch (...) { carried = std::current_exception(); } }).join();
    try { std::rethrow_exception(carried); CHECK(0); } catch (const Odd& e) { CHECK(e.number == 77); }

    auto future = std::async(std::launch::async, [] { return deep(2, 9); });
    try { future.get(); CHECK(0); } catch (const Odd& e) { CHECK(e.number == 9); }
    CHECK(std::async(std::launch::async, [] { return deep(2, 10); }).get() == 10);

    std::once_flag once;
    int tries = 0;
    for (int k = 0; k < 3; k++)
        try { std::call_once(once, [&] { if (++tries < 2) throw 1; }); } catch (int) {}
    CHECK(tries == 2);
}

static void from_signals() {  // the unwinder finds its way through the signal's frame
    struct sigaction action = {};
    action.sa_handler = [](int) { throw Odd(11); };
    action.sa_flags = SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    for (int k = 0; k < 3; k++) {
        Guard g;
        try { *reinterpret_cast<volatile int*>(intptr_t{16} + 8 * k) = 1; CHECK(0); } catch (const Odd& e) { CHECK(e.number == 11); }
    }
    CHECK(Guard::alive == 0);
}

int main(int count, char** words) {
#ifdef SMALL
    counter.n = plain;
    for (int n = 0; n < 3; n++)
        try { CHECK(deep(2, n) == n); } catch (const Odd& e) { CHECK(e.number == 1 && e.twice() == 2); }
    CHECK(counter.n == 5); CHECK(Guard::alive == 0);
#else
    libraries(); through_c(); threads(); from_signals();
#endif
    if (count > 1) {  // what nobody catches
        std::set_terminate([] { fprintf(stderr, "terminate\n"); abort(); });
        std::thread([] { deep(1, 1); }).join();
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
#endif
