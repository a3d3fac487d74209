# Generated from overlay/machine/parameters.py by `python -m intarsia_backends.overlay.machine.generated hw/intarsia_hw/generated`. Do not edit.
set name kv260
set part xck26-sfvc784-2LV-c
set clock_mhz 300.0
set vlnv intarsia:overlay:ia_core:1.0
set register_bytes 4096
set parameters {
  Pixels 4
  TileGroups 32
  ActBanks 16
  BankWords 4096
  WeightRows 8192
  ParameterGroups 256
  Tables 4
  PatchWords 2048
  QueueWords 16
  SemaphoreMax 255
  AxiBytes 16
  AddressBits 40
  BurstBytes 256
  Outstanding 8
  ConfigHash 0x001038d9d84d4dac
}
