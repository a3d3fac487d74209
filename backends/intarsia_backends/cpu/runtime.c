/* Threads behind the kernels of a region. Linked into every region's library; nothing else is needed.
 *
 * A pool has workers, each with a box of its own. A caller puts its job into the boxes of idle workers, does tasks
 * itself, takes back what nobody took, and waits for those who did. So a job ends even where no worker ever comes, any
 * number of callers share a pool, a task may launch a job of its own, and no two threads meet at a lock while they are
 * awake. Idle workers watch their boxes for a while before they sleep: the kernels of a run follow each other closely.
 *
 * All regions of a process can use one pool: `intarsia_region_use` takes the launcher and pool of another library.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_THREADS 256
#define LINE_BYTES 64
#define SPIN_MICROSECONDS 200
#define BRIEF_MICROSECONDS 20 /* a caller that waits longer lets others in: one may be the worker that it waits for */
#define TASKS_A_THREAD 4       /* so that a thread that comes late, or is disturbed, does less than the others */
#define MOST_TASKS_A_THREAD 8

#define TAKEN ((uintptr_t)1) /* in a box, beside a job and a place in it: the worker is at it */
#define ASLEEP (1 << 16)     /* in a job's `left`: the caller sleeps */

typedef struct {
  void *sync_handle;
  int32_t num_task;
} Environment; /* as the generated code reads it */

typedef int (*Task)(int index, Environment *environment, void *data);

typedef struct {
  _Alignas(LINE_BYTES) atomic_int next; /* the first task that nobody has claimed */
  int end;
} Share;

/* Every thread begins with a share of its own, of neighbouring tasks. It is the same part of the work in all kernels
 * of a run, as a rule, so that what one kernel writes the next one finds in the same processor's caches. A thread that
 * has done its share goes on with what others have left. */
typedef struct {
  _Alignas(2 * MAX_THREADS) Task task; /* so that an address has room for a place, and for TAKEN */
  void *data;
  Environment environment;
  int threads;
  atomic_int status;
  _Alignas(LINE_BYTES) atomic_int left; /* workers that may still touch the job */
  Share shares[MAX_THREADS];            /* one for each thread, the caller's first */
} Job;

typedef struct Pool Pool;

typedef struct {
  _Alignas(LINE_BYTES) atomic_uintptr_t box; /* 0, or a job and 2 * the worker's place in it, and TAKEN or not */
  atomic_int asleep;
  Pool *pool;
  int index;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
} Worker;

struct Pool {
  Pool *following;      /* in the list of all */
  pthread_mutex_t lock; /* for making workers, and for callers that sleep */
  pthread_cond_t done;
  atomic_int started, failed, stopping;
  atomic_int room; /* workers that have a processor of their own, beside the caller's: the others do not spin */
  int spin_nanoseconds;
  int pinned; /* length of `processors`; 0 for workers that go where they like */
  int processors[MAX_THREADS];
  Worker *workers[MAX_THREADS];
};

static Pool own_pool = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .done = PTHREAD_COND_INITIALIZER,
    .spin_nanoseconds = SPIN_MICROSECONDS * 1000,
};
static _Atomic(Pool *) all_pools = &own_pool;

/* ---- waiting */

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#elif defined(__arm__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

typedef struct {
  int64_t start;
  int turns, limit, polite;
} Spin;

/* Whether to look once more; a moment passes. */
static int once_more(Spin *spin) {
  if (spin->limit == 0) return 0;
  relax();
  if (++spin->turns % 32 != 0) return 1;
  int64_t time = now();
  if (spin->start == 0) spin->start = time;
  if (spin->polite && time - spin->start > BRIEF_MICROSECONDS * 1000) sched_yield();
  return time - spin->start < spin->limit;
}

static int spin_limit(const Pool *pool, int workers) {
  return workers <= atomic_load_explicit(&pool->room, memory_order_relaxed) ? pool->spin_nanoseconds : 0;
}

/* ---- workers */

static void do_tasks(Job *job, int place) {
  for (int turn = 0; turn < job->threads; ++turn, place = place + 1 < job->threads ? place + 1 : 0) {
    Share *share = &job->shares[place];
    while (atomic_load_explicit(&share->next, memory_order_relaxed) < share->end) {
      int index = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
      if (index >= share->end) break;
      int status = job->task(index, &job->environment, job->data);
      if (status != 0) atomic_store_explicit(&job->status, status, memory_order_relaxed);
    }
  }
}

/* The last touch of a job by a worker: the caller's frame, which holds it, may be gone afterwards. */
static void leave(Pool *pool, Job *job) {
  if (atomic_fetch_sub_explicit(&job->left, 1, memory_order_acq_rel) != ASLEEP + 1) return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_broadcast(&pool->done);
  pthread_mutex_unlock(&pool->lock);
}

static uintptr_t await_job(Worker *worker) {
  Pool *pool = worker->pool;
  Spin spin = {.limit = spin_limit(pool, worker->index + 1)};
  uintptr_t offer;
  do {
    if ((offer = atomic_load_explicit(&worker->box, memory_order_acquire)) != 0) return offer;
  } while (!atomic_load_explicit(&pool->stopping, memory_order_relaxed) && once_more(&spin));
  pthread_mutex_lock(&worker->lock);
  /* In one order with the caller's offer and its look at `asleep`: one of the two sees the other. */
  atomic_store(&worker->asleep, 1);
  while ((offer = atomic_load(&worker->box)) == 0 && !atomic_load(&pool->stopping))
    pthread_cond_wait(&worker->wake, &worker->lock);
  atomic_store(&worker->asleep, 0);
  pthread_mutex_unlock(&worker->lock);
  return offer;
}

static void *work(void *argument) {
  Worker *worker = argument;
  uintptr_t offer;
  while ((offer = await_job(worker)) != 0) {
    if (!atomic_compare_exchange_strong(&worker->box, &offer, offer | TAKEN)) continue; /* taken back */
    uintptr_t place = offer % (2 * MAX_THREADS);
    Job *job = (Job *)(offer - place);
    do_tasks(job, (int)place / 2);
    /* Free before it leaves: the caller's next job is to find it idle. */
    atomic_store_explicit(&worker->box, 0, memory_order_release);
    leave(worker->pool, job);
  }
  return NULL;
}

static void wake_up(Worker *worker) {
  pthread_mutex_lock(&worker->lock);
  pthread_cond_signal(&worker->wake);
  pthread_mutex_unlock(&worker->lock);
}

static void reset_worker(Worker *worker) {
  atomic_store(&worker->box, 0);
  atomic_store(&worker->asleep, 0);
  pthread_mutex_init(&worker->lock, NULL);
  pthread_cond_init(&worker->wake, NULL);
}

/* A child process has the memory of the pools and none of their threads. */
static void forget_workers(void) {
  for (Pool *pool = atomic_load(&all_pools); pool != NULL; pool = pool->following) {
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->done, NULL);
    atomic_store(&pool->started, 0);
    atomic_store(&pool->failed, 0);
    atomic_store(&pool->stopping, 0);
  }
}

static void prepare_for_fork(void) { pthread_atfork(NULL, NULL, forget_workers); }

static int room_for_workers(const Pool *pool) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  if (pool->pinned == 0) return CPU_COUNT(&set) - 1;
  for (int index = 0; index < pool->pinned; ++index) CPU_CLR(pool->processors[index], &set);
  return CPU_COUNT(&set) > 0 ? pool->pinned : 0;
}

static int start_worker(Pool *pool, int index) {
  if (pool->workers[index] == NULL && (pool->workers[index] = aligned_alloc(LINE_BYTES, sizeof(Worker))) == NULL)
    return 0;
  Worker *worker = pool->workers[index];
  reset_worker(worker);
  worker->pool = pool;
  worker->index = index;
  if (pthread_create(&worker->thread, NULL, work, worker) != 0) return 0;
  if (pool->pinned > 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(pool->processors[index % pool->pinned], &set);
    pthread_setaffinity_np(worker->thread, sizeof set, &set);
  }
  return 1;
}

static void grow(Pool *pool, int workers) {
  static pthread_once_t prepared = PTHREAD_ONCE_INIT;
  pthread_once(&prepared, prepare_for_fork);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads of the program */
  pthread_mutex_lock(&pool->lock);
  atomic_store(&pool->room, room_for_workers(pool));
  int started = atomic_load(&pool->started);
  while (started < workers && !atomic_load(&pool->failed)) {
    if (start_worker(pool, started))
      atomic_store(&pool->started, ++started);
    else
      atomic_store(&pool->failed, 1);
  }
  pthread_mutex_unlock(&pool->lock);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- callers */

static void await_workers(Pool *pool, Job *job, int workers) {
  Spin spin = {.limit = spin_limit(pool, workers), .polite = 1};
  do {
    if (atomic_load_explicit(&job->left, memory_order_acquire) == 0) return;
  } while (once_more(&spin));
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&job->left, ASLEEP);
  while (atomic_load(&job->left) != ASLEEP) pthread_cond_wait(&pool->done, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
}

static int run_alone(Task task, void *data, int count) {
  Environment environment = {NULL, count};
  for (int index = 0; index < count; ++index) {
    int status = task(index, &environment, data);
    if (status != 0) return status;
  }
  return 0;
}

static uintptr_t offer_of(const Job *job, int place) { return (uintptr_t)job + 2 * (uintptr_t)place; }

/* Do `count` tasks with up to `threads` threads of a pool, the calling one among them. The status of a task that
 * failed, else 0. */
int intarsia_region_launch(void *any, Task task, void *data, int count, int threads) {
  Pool *pool = any;
  if (count < threads) threads = count;
  if (threads <= 1) return run_alone(task, data, count);
  if (atomic_load_explicit(&pool->started, memory_order_relaxed) < threads - 1 &&
      !atomic_load_explicit(&pool->failed, memory_order_relaxed))
    grow(pool, threads - 1);
  Job job; /* member by member: most shares are not used */
  job.task = task;
  job.data = data;
  job.environment = (Environment){NULL, count};
  job.threads = threads;
  atomic_init(&job.status, 0);
  atomic_init(&job.left, threads - 1);
  for (int place = 0, each = count / threads, more = count % threads, start = 0; place < threads; ++place) {
    atomic_init(&job.shares[place].next, start);
    job.shares[place].end = start += each + (place < more);
  }
  Worker *helpers[MAX_THREADS];
  int started = atomic_load_explicit(&pool->started, memory_order_acquire), offered = 0;
  for (int index = 0; index < started && offered < threads - 1; ++index) {
    Worker *worker = pool->workers[index];
    uintptr_t idle = 0;
    if (atomic_load_explicit(&worker->box, memory_order_relaxed) != 0 ||
        !atomic_compare_exchange_strong(&worker->box, &idle, offer_of(&job, offered + 1)))
      continue;
    helpers[offered++] = worker;
    if (atomic_load(&worker->asleep)) wake_up(worker);
  }
  do_tasks(&job, 0);
  int gone = threads - 1 - offered;
  for (int index = 0; index < offered; ++index) {
    uintptr_t offer = offer_of(&job, index + 1);
    gone += atomic_compare_exchange_strong(&helpers[index]->box, &offer, 0);
  }
  if (atomic_fetch_sub_explicit(&job.left, gone, memory_order_acq_rel) != gone) await_workers(pool, &job, threads - 1);
  return atomic_load_explicit(&job.status, memory_order_relaxed);
}

/* ---- what the generated code calls */

typedef int (*Launcher)(void *pool, Task task, void *data, int count, int threads);

static Launcher launcher = intarsia_region_launch;
static void *pool_in_use = &own_pool;
static int threads_in_use = 1;
static _Thread_local int steps; /* of the parallel loop that the next launch is for */

static int ceil_div(int number, int divisor) { return (number + divisor - 1) / divisor; }

/* How many tasks to cut a loop into. Every task does the same number of steps, rounded up; that must not make the
 * busiest thread busier than it need be. */
static int tasks_for(int count) {
  static const int tries[] = {TASKS_A_THREAD, 5, 6, 7, MOST_TASKS_A_THREAD, 3, 2, 1};
  int least = ceil_div(count, threads_in_use), best = threads_in_use, best_longest = count + 1;
  for (size_t index = 0; index < sizeof tries / sizeof *tries; ++index) {
    int share = ceil_div(count, tries[index] * threads_in_use), tasks = ceil_div(count, share);
    int longest = ceil_div(tasks, threads_in_use) * share;
    if (longest < best_longest) best = tasks, best_longest = longest;
    if (longest == least) break;
  }
  return best;
}

/* The next launch of this thread is for a loop of that many steps. */
void intarsia_parallel_steps(int count) { steps = count; }

static int launch(Task task, void *data, int count) {
  int announced = steps;
  steps = 0;
  if (threads_in_use <= 1) return run_alone(task, data, count ? count : 1);
  if (count == 0) count = announced ? tasks_for(announced) : threads_in_use * TASKS_A_THREAD;
  return launcher(pool_in_use, task, data, count, threads_in_use);
}

/* Do `count` tasks with as many threads as the region has. The status of a task that failed, else 0. */
int intarsia_region_tasks(Task task, void *data, int count) {
  if (threads_in_use <= 1) return run_alone(task, data, count);
  return launcher(pool_in_use, task, data, count, threads_in_use);
}

static void *allocate(int device, int number, uint64_t size, int code, int bits) {
  void *memory = NULL;
  (void)device, (void)number, (void)code, (void)bits;
  return posix_memalign(&memory, LINE_BYTES, size ? size : LINE_BYTES) == 0 ? memory : NULL;
}

static int release(int device, int number, void *memory) {
  (void)device, (void)number;
  free(memory);
  return 0;
}

/* The generated object reads these variables; they are weak there and bound here. */
void *__TVMBackendParallelLaunch = (void *)launch;
void *__TVMBackendAllocWorkspace = (void *)allocate;
void *__TVMBackendFreeWorkspace = (void *)release;

/* ---- what the device calls */

/* A new pool, whose workers stay on these processors, one each, in order; with a count of 0 they go where they like.
 * NULL without memory. It lives as long as this library, which must not be unloaded while a region uses the pool. */
void *intarsia_region_pool(const int *processors, int count, int spin_microseconds) {
  Pool *pool = count < 0 || count > MAX_THREADS ? NULL : calloc(1, sizeof(Pool));
  if (pool == NULL) return NULL;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->done, NULL);
  pool->spin_nanoseconds = (spin_microseconds < 1000000 ? spin_microseconds : 1000000) * 1000;
  pool->pinned = count;
  if (count > 0) memcpy(pool->processors, processors, (size_t)count * sizeof(int));
  pool->following = atomic_load(&all_pools);
  while (!atomic_compare_exchange_weak(&all_pools, &pool->following, pool)) {
  }
  return pool;
}

/* Threads for each job of this library from now on, and where they come from: launcher and pool of a library of the
 * same interface version; NULL for this library's own. */
void intarsia_region_use(void *other_launcher, void *pool, int threads) {
  launcher = other_launcher == NULL ? intarsia_region_launch : (Launcher)other_launcher;
  pool_in_use = other_launcher == NULL ? &own_pool : pool;
  threads_in_use = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
}

/* End all workers of this library's pools, when no job runs; a later job starts new ones. Before it is unloaded. */
void intarsia_region_stop(void) {
  for (Pool *pool = atomic_load(&all_pools); pool != NULL; pool = pool->following) {
    int started = atomic_load(&pool->started);
    atomic_store(&pool->stopping, 1);
    for (int index = 0; index < started; ++index) {
      wake_up(pool->workers[index]);
      pthread_join(pool->workers[index]->thread, NULL);
    }
    atomic_store(&pool->started, 0);
    atomic_store(&pool->stopping, 0);
  }
}

int intarsia_region_run(void *const *inputs, void *const *outputs, uint8_t *weights, uint8_t *arena);

/* The same by one pointer, to inputs, outputs, weights and arena: every argument more takes Python a tenth of a
 * microsecond. */
int intarsia_region_call(void *const *block) { return intarsia_region_run(block[0], block[1], block[2], block[3]); }
