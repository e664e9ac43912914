"use strict";
// Tells what of a text is missing from another: Latin text by words, Japanese by characters.
const differing = (() => {
  // A piece is a kana or a kanji, any other word, a run of blanks, or a single other character.
  const PIECE = /[\p{scx=Hira}\p{scx=Kana}\p{sc=Han}]|(?:(?![\p{scx=Hira}\p{scx=Kana}\p{sc=Han}])[\p{L}\p{M}\p{N}])+|\s+|[^]/gu;
  const AREA = 90000; // Pairs of pieces compared for one text; a longer difference is one stretch.
  const cut = (text) => text.match(PIECE) || [];

  // Returns for each of the pieces `a` whether it lies outside the longest common subsequence with `b`.
  const outside = (a, b) => {
    const marks = new Uint8Array(a.length);
    let head = 0, enda = a.length, endb = b.length;
    while (head < enda && head < endb && a[head] === b[head]) head += 1;
    while (enda > head && endb > head && a[enda - 1] === b[endb - 1]) { enda -= 1; endb -= 1; }
    const height = enda - head, width = endb - head + 1;
    marks.fill(1, head, enda);
    if (height * width > AREA) return marks;
    const common = new Uint16Array((height + 1) * width); // Of what remains of both from here on.
    for (let i = height - 1; i >= 0; i -= 1)
      for (let j = width - 2; j >= 0; j -= 1)
        common[i * width + j] = a[head + i] === b[head + j] ? common[(i + 1) * width + j + 1] + 1
          : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    for (let i = 0, j = 0; i < height && j < width - 1;)
      if (a[head + i] === b[head + j]) { marks[head + i] = 0; i += 1; j += 1; }
      else if (common[(i + 1) * width + j] >= common[i * width + j + 1]) i += 1;
      else j += 1;
    return marks;
  };

  // Returns an array with a 1 for each character (UTF-16 unit) of `text` that `control` lacks.
  return (text, control) => {
    const pieces = cut(text), marks = outside(pieces, cut(control)), characters = new Uint8Array(text.length);
    let at = 0;
    pieces.forEach((piece, i) => {
      // Every text has blanks: one is new between two new words, and nowhere else.
      if (piece.trim() ? marks[i] : marks[i - 1] && marks[i + 1]) characters.fill(1, at, at + piece.length);
      at += piece.length;
    });
    return characters;
  };
})();
