// What attentions without workgroup memory share: lanes of a workgroup and keys of a tile. With BROADCAST the lanes lie in one
// subgroup, and each loads a key for all; without, each loads all keys.
const LANES: u32 = 8u;
const BROADCAST: u32 = 1u;
const KEY_TILE: u32 = 16u;
const GROUPS: u32 = KEY_TILE / LANES;
