#![no_main]

perceiver_fuzz::target!(meshes);
