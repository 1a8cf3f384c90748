#![no_main]

perceiver_fuzz::target!(torch_legacy);
