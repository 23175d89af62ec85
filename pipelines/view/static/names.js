// What the page calls what the server and its URL have shorter words for.

const NAMES = {
  shards: "as in the shards", subjects: "subjects", smallest: "smallest subject",
  occlusion: "most hidden subject", truncation: "most cut off subject", compared: "beside the other set",
};

export const naming = (word) => NAMES[word] ?? word;
