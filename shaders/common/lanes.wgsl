// What attentions without workgroup memory share: lanes of a workgroup, which lie in one subgroup, and keys of a tile.
const LANES: u32 = 8u;
const KEY_TILE: u32 = 16u;
const GROUPS: u32 = KEY_TILE / LANES;
