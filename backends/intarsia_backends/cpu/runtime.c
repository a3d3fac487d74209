/* The thread pool behind the kernels of a region. Linked into every region's library; nothing else is needed.
 *
 * A job is a number of tasks that threads claim one by one. The calling thread claims too, so a job ends even where no
 * worker ever comes (a child after fork has none). One job runs at a time: a second caller does its own tasks alone.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MAX_THREADS 256

typedef struct {
  void *sync_handle;
  int32_t num_task;
} Environment; /* as the generated code reads it */

typedef int (*Task)(int index, Environment *environment, void *data);

static pthread_mutex_t one_job = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;

static pthread_t workers[MAX_THREADS];
static int wanted = 1;   /* threads for a job, the caller among them */
static int started = 0;  /* workers that exist */
static int busy = 0;     /* workers inside the job */
static int stopping = 0;
static unsigned long generation = 0;

static Task job_task;
static void *job_data;
static Environment job_environment;
static atomic_int job_next, job_status;

static void claim_tasks(void) {
  int index;
  while ((index = atomic_fetch_add(&job_next, 1)) < job_environment.num_task) {
    int status = job_task(index, &job_environment, job_data);
    if (status != 0) atomic_store(&job_status, status);
  }
}

static void *work(void *unused) {
  unsigned long seen = 0;
  (void)unused;
  pthread_mutex_lock(&state);
  for (;;) {
    while (!stopping && generation == seen) pthread_cond_wait(&wake, &state);
    if (stopping) break;
    seen = generation;
    busy++;
    pthread_mutex_unlock(&state);
    claim_tasks();
    pthread_mutex_lock(&state);
    if (--busy == 0) pthread_cond_signal(&done);
  }
  pthread_mutex_unlock(&state);
  return NULL;
}

/* A child process has the memory of the pool and none of its threads. */
static void forget_workers(void) {
  pthread_mutex_init(&one_job, NULL);
  pthread_mutex_init(&state, NULL);
  pthread_cond_init(&wake, NULL);
  pthread_cond_init(&done, NULL);
  started = busy = 0;
}

__attribute__((constructor)) static void prepare_for_fork(void) { pthread_atfork(NULL, NULL, forget_workers); }

static int run_alone(Task task, void *data, int count) {
  Environment environment = {NULL, count};
  for (int index = 0; index < count; ++index) {
    int status = task(index, &environment, data);
    if (status != 0) return status;
  }
  return 0;
}

static int launch(Task task, void *data, int count) {
  int status;
  if (wanted <= 1 || pthread_mutex_trylock(&one_job) != 0) return run_alone(task, data, count ? count : 1);
  pthread_mutex_lock(&state);
  while (busy != 0) pthread_cond_wait(&done, &state);
  while (started < wanted - 1 && pthread_create(&workers[started], NULL, work, NULL) == 0) started++;
  job_task = task;
  job_data = data;
  job_environment.sync_handle = NULL;
  job_environment.num_task = count ? count : wanted;
  atomic_store(&job_next, 0);
  atomic_store(&job_status, 0);
  generation++;
  pthread_cond_broadcast(&wake);
  pthread_mutex_unlock(&state);
  claim_tasks();
  pthread_mutex_lock(&state);
  while (busy != 0) pthread_cond_wait(&done, &state);
  status = atomic_load(&job_status);
  pthread_mutex_unlock(&state);
  pthread_mutex_unlock(&one_job);
  return status;
}

static void *allocate(int device, int number, uint64_t size, int code, int bits) {
  void *memory = NULL;
  (void)device, (void)number, (void)code, (void)bits;
  return posix_memalign(&memory, 64, size ? size : 64) == 0 ? memory : NULL;
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

/* Threads for each job from now on. */
void intarsia_region_threads(int count) {
  wanted = count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
}

/* End the workers; call before the library is unloaded, when no job runs. */
void intarsia_region_stop(void) {
  pthread_mutex_lock(&state);
  stopping = 1;
  pthread_cond_broadcast(&wake);
  pthread_mutex_unlock(&state);
  for (int index = 0; index < started; ++index) pthread_join(workers[index], NULL);
  started = 0;
  stopping = 0;
}
