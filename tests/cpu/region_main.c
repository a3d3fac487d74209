/* Runs a region without Python, for machines that are only emulated here. Linked with a region's code, or against its
 * library.
 *
 *     program THREADS ARENA_BYTES WEIGHTS INPUTS FILE... (FILE BYTES)...
 *
 * The inputs are read from files, the outputs of the second of two runs are written to files. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int intarsia_region_call(void *const *block);
void intarsia_region_use(void *launcher, void *pool, int threads);

static void *memory(size_t size) {
  void *made = aligned_alloc(64, (size + 64) / 64 * 64);
  if (made == NULL) exit(90);
  return memset(made, 0xa5, size); /* nothing may depend on what memory holds before */
}

static void *content(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) exit(91);
  size_t size = (size_t)ftell(file);
  void *made = memory(size);
  rewind(file);
  if (fread(made, 1, size, file) != size) exit(92);
  fclose(file);
  return made;
}

int main(int count, char **words) {
  void *inputs[64], *outputs[64];
  int input_count = atoi(words[4]), output_count = (count - 5 - input_count) / 2;
  char **input_words = words + 5, **output_words = input_words + input_count;
  if (input_count > 64 || output_count > 64) return 93;
  for (int index = 0; index < input_count; ++index) inputs[index] = content(input_words[index]);
  for (int index = 0; index < output_count; ++index) outputs[index] = memory((size_t)atoll(output_words[2 * index + 1]));
  void *const block[4] = {inputs, outputs, content(words[3]), memory((size_t)atoll(words[2]))};
  intarsia_region_use(NULL, NULL, atoi(words[1]));
  for (int run = 0; run < 2; ++run) {
    int status = intarsia_region_call(block);
    if (status != 0) return fprintf(stderr, "status %d\n", status), 94;
  }
  for (int index = 0; index < output_count; ++index) {
    FILE *file = fopen(output_words[2 * index], "wb");
    size_t size = (size_t)atoll(output_words[2 * index + 1]);
    if (file == NULL || fwrite(outputs[index], 1, size, file) != size || fclose(file) != 0) return 95;
  }
  return 0;
}
