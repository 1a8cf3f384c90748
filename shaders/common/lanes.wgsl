// What attentions without workgroup memory share: keys of a tile, a multiple of eight, and whether what is read of
// them passes from lane to lane. A workgroup is one subgroup then.
const KEY_TILE: u32 = 8u;
const GROUPS: u32 = KEY_TILE / 8u;
const BROADCAST: u32 = 0u;
