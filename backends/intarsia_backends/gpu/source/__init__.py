"""From TIR to the text of kernels: `dialect` says how a language spells things, `terms` prints expressions, `kernels`
functions. No device, driver or code generator of TVM is needed."""
