// Every word that the page says, but those of the story (story.ts).

export const words = {
  name: "treefort",
};
