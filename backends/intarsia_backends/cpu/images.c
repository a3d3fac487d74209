/* A region for any number of images, which lie one behind the other in the inputs and outputs. Linked into every
 * region's library, beside runtime.c, and the region's own code for some images at a time.
 *
 * Threads take images, where the region says so and there is scratch memory for each thread: what a thread does waits
 * for no other one then. A kernel of a thread that has images left may still be shared with one that has none.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_ARENAS 64
#define TASKS_A_THREAD 4

typedef struct {
  void *sync_handle;
  int32_t num_task;
} Environment;

typedef int (*Task)(int index, Environment *environment, void *data);

int intarsia_region_tasks(Task task, void *data, int count);

/* What the region says: see images_source.py. */
extern const int64_t region_input_bytes[], region_output_bytes[];
extern const int32_t region_inputs, region_outputs, region_images_at_once, region_shares_images;
int region_images(void *const *inputs, void *const *outputs, uint8_t *weights, uint8_t *arena, int32_t images);

typedef struct {
  void *const *inputs, *const *outputs;
  uint8_t *weights, *arenas;
  int64_t arena_bytes, images, share;
  atomic_flag taken[MOST_ARENAS];
} Images;

static int some_images(const Images *all, uint8_t *arena, int64_t first, int64_t last) {
  void *inputs[region_inputs + 1], *outputs[region_outputs + 1];
  while (first < last) {
    int64_t count = last - first < region_images_at_once ? last - first : region_images_at_once;
    for (int32_t k = 0; k < region_inputs; ++k) inputs[k] = (uint8_t *)all->inputs[k] + first * region_input_bytes[k];
    for (int32_t k = 0; k < region_outputs; ++k)
      outputs[k] = (uint8_t *)all->outputs[k] + first * region_output_bytes[k];
    int status = region_images(inputs, outputs, all->weights, arena, (int32_t)count);
    if (status != 0) return status;
    first += count;
  }
  return 0;
}

static int share(int index, Environment *environment, void *data) {
  Images *all = data;
  (void)environment;
  int place = 0; /* no more threads come than there are arenas */
  while (atomic_flag_test_and_set_explicit(&all->taken[place], memory_order_acquire)) ++place;
  int64_t first = index * all->share, last = first + all->share;
  int status = some_images(all, all->arenas + place * all->arena_bytes, first, last < all->images ? last : all->images);
  atomic_flag_clear_explicit(&all->taken[place], memory_order_release);
  return status;
}

/* Run images. The block points to inputs, outputs, weights, and arenas; then come numbers: images, how many arenas
 * there are, one for each thread that the region may have or a single one, and the bytes of each. */
int intarsia_region_call_images(void *const *block) {
  Images all = {.inputs = block[0], .outputs = block[1], .weights = block[2], .arenas = block[3]};
  all.images = (int64_t)(intptr_t)block[4], all.arena_bytes = (int64_t)(intptr_t)block[6];
  int64_t arenas = (int64_t)(intptr_t)block[5];
  if (!region_shares_images || arenas < 2 || arenas > MOST_ARENAS || all.images < arenas)
    return some_images(&all, all.arenas, 0, all.images);
  int64_t tasks = region_images_at_once > 1 ? arenas : arenas * TASKS_A_THREAD;
  all.share = (all.images + tasks - 1) / tasks;
  if (region_images_at_once > 1 && all.share > region_images_at_once) all.share = region_images_at_once;
  return intarsia_region_tasks(share, &all, (int)((all.images + all.share - 1) / all.share));
}
