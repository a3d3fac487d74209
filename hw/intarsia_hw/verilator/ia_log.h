// What Verilated code prints goes into a text that the caller reads. Included before every other header.
#pragma once
#include <cstdarg>

int ia_printf(const char* format, ...) __attribute__((format(printf, 1, 2)));
int ia_vprintf(const char* format, va_list arguments);
