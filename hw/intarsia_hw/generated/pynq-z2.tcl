# Generated from overlay/machine/parameters.py by `python -m intarsia_backends.overlay.machine.generated hw/intarsia_hw/generated`. Do not edit.
set name pynq-z2
set part xc7z020clg400-1
set clock_mhz 142.0
set vlnv intarsia:overlay:ia_core:1.0
set register_bytes 4096
set parameters {
  Pixels 2
  TileGroups 32
  ActBanks 8
  BankWords 2048
  WeightRows 3072
  ParameterGroups 128
  Tables 4
  PatchWords 512
  QueueWords 16
  SemaphoreMax 255
  AxiBytes 8
  AddressBits 32
  BurstBytes 128
  Outstanding 8
  ConfigHash 0x34dd4f2abc484173
}
