// The page's words for facets and orders, which have shorter names in the URL.

const NAMES = {
  shards: "position in the shards", subjects: "subjects", smallest: "smallest subject",
  occlusion: "most occluded subject", truncation: "most truncated subject", compared: "compared with the other dataset",
};

export const displayName = (word) => NAMES[word] ?? word;
