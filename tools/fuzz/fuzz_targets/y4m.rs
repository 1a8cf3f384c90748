#![no_main]

perceiver_fuzz::target!(y4m);
