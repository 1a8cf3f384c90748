// What element-wise kernels share: an invocation computes an element or vector of the result, 64 a workgroup. In
// their Params `total` is how many there are, and `row_invocations` how many a grid row has.

const WORKGROUP: u32 = 64u;

// The first workgroup of the part of a dispatch that is to be computed.
@group(1) @binding(0) var<uniform> first_group: u32;
