/* The pool of runtime.c under all that callers may do to it. Prints nothing and ends with 0 where all is well. */
#include RUNTIME

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLERS 8
#define CELLS 97

int intarsia_region_run(void *const *inputs, void *const *outputs, uint8_t *weights, uint8_t *arena) {
  (void)inputs, (void)outputs, (void)weights, (void)arena;
  return 0;
}

static atomic_int wrong;

static void expect(int holds, const char *what, int number) {
  if (holds) return;
  fprintf(stderr, "%s (%d)\n", what, number);
  atomic_store(&wrong, 1);
}

typedef struct {
  int extent, depth, status, sleep_microseconds;
  void *pool;
  int cells[CELLS]; /* plain memory: a race on it is the pool's fault */
} Loop;

static int do_loop(void *pool, Loop *loop, int count, int threads);

/* A task as the generated code cuts loops. */
static int some_steps(int index, Environment *environment, void *data) {
  Loop *loop = data;
  int share = (loop->extent + environment->num_task - 1) / environment->num_task;
  for (int step = index * share; step < (index + 1) * share && step < loop->extent; ++step) {
    loop->cells[step] += step + 1;
    if (loop->depth > 0) {
      Loop inner = {.extent = 5, .depth = loop->depth - 1, .pool = loop->pool};
      expect(do_loop(loop->pool, &inner, 5, 3) == 0, "status of a nested job", step);
    }
    if (loop->sleep_microseconds > 0) usleep((useconds_t)loop->sleep_microseconds);
  }
  return index == 0 ? loop->status : 0;
}

static int do_loop(void *pool, Loop *loop, int count, int threads) {
  memset(loop->cells, 0, sizeof loop->cells);
  int status = intarsia_region_launch(pool, some_steps, loop, count, threads);
  for (int step = 0; step < loop->extent && status == 0; ++step) /* a failure may leave steps out */
    expect(loop->cells[step] == step + 1, "a step was left out or done twice", step);
  return status;
}

typedef struct {
  void *pool;
  int seed, rounds;
} Caller;

static void *call(void *argument) {
  Caller *caller = argument;
  unsigned random = (unsigned)caller->seed * 2654435761u + 1;
  for (int round = 0; round < caller->rounds; ++round) {
    random = random * 1664525u + 1013904223u;
    Loop loop = {.extent = 1 + (int)(random >> 8) % CELLS, .pool = caller->pool};
    int count = 1 + (int)(random >> 16) % 20, threads = 1 + (int)(random >> 24) % 6;
    if (round % 16 == 0) loop.depth = 2;
    if (round % 64 == 1) loop.status = 7;
    if (round % 64 == 2 && caller->seed % 4 == 0) usleep(700); /* long enough for workers to fall asleep */
    if (round % 64 == 3) loop.sleep_microseconds = 30;         /* and for callers */
    expect(do_loop(caller->pool, &loop, count, threads) == loop.status, "status", round);
  }
  return NULL;
}

static void many_callers(void *const *pools, int pool_count, int rounds) {
  pthread_t threads[CALLERS];
  Caller callers[CALLERS];
  for (int index = 0; index < CALLERS; ++index) {
    callers[index] = (Caller){pools[index % pool_count], index, rounds};
    pthread_create(&threads[index], NULL, call, &callers[index]);
  }
  for (int index = 0; index < CALLERS; ++index) pthread_join(threads[index], NULL);
}

/* Children are made while other threads launch; each runs jobs of its own, and makes a child in turn. */
static void forks(void *pool, int children) {
  pthread_t thread;
  Caller busy = {pool, 3, 400};
  pthread_create(&thread, NULL, call, &busy);
  for (int index = 0; index < children; ++index) {
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      call(&(Caller){pool, index, 100});
      pid_t grandchild = fork();
      if (grandchild == 0) {
        call(&(Caller){pool, index, 100});
        _exit(atomic_load(&wrong));
      }
      int status = 1;
      waitpid(grandchild, &status, 0);
      _exit(atomic_load(&wrong) || status != 0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    expect(child > 0 && status == 0, "a child", status);
  }
  pthread_join(thread, NULL);
}

/* Loops whose length the launch knows are cut so that no thread must do more than it need. */
static void cuts(void) {
  for (int threads = 2; threads <= 8; ++threads) {
    intarsia_region_use(NULL, NULL, threads);
    for (int extent = 1; extent <= 200; ++extent) {
      int tasks = tasks_for(extent), share = ceil_div(extent, tasks);
      expect(tasks <= threads * MOST_TASKS_A_THREAD, "too many tasks", extent);
      expect(ceil_div(ceil_div(extent, share), threads) * share <= ceil_div(extent, threads), "uneven", extent);
    }
  }
  Loop loop = {.extent = 50};
  intarsia_parallel_steps(50);
  expect(launch(some_steps, &loop, 0) == 0 && loop.cells[49] == 50, "a launch of the generated code", 0);
  expect(steps == 0, "the length is for one launch", steps);
}

int main(void) {
  alarm(300); /* a deadlock ends here */
  int processor = 0;
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof allowed, &allowed);
  while (!CPU_ISSET(processor, &allowed)) ++processor;
  void *shared = intarsia_region_pool(NULL, 0, 50), *sleepy = intarsia_region_pool(NULL, 0, 0);
  void *pinned = intarsia_region_pool(&processor, 1, 50), *eager = intarsia_region_pool(NULL, 0, 1000000);
  void *const pools[] = {shared, sleepy, pinned, eager};
  many_callers(pools, 1, ROUNDS);
  many_callers(pools, 4, ROUNDS);
  forks(shared, FORKS);
  cuts();
  for (int round = 0; round < 20; ++round) {
    intarsia_region_stop();
    call(&(Caller){pools[round % 4], round, 10});
  }
  intarsia_region_stop();
  return atomic_load(&wrong);
}
