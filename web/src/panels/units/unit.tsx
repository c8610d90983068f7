// One unit: what removing it does, where it looked, and the pictures that it answers to most.
import { Picture } from "../../pictures/canvas";
import { place } from "../../sentence/words";
import { framesOf, signed, type UnitRow, type UnitsTold } from "./told";

export function Unit({ row, told }: { row: UnitRow; told: UnitsTold }) {
  const looked = [
    { title: "where it looked", frames: framesOf(told, `where_${row.unit}`) },
    { title: "where it looked before", frames: framesOf(told, `before_${row.unit}`) },
    { title: "where it looked after", frames: framesOf(told, `after_${row.unit}`) },
  ].filter((one) => one.frames.length > 0);
  const liked = framesOf(told, `unit_${row.unit}`);
  return (
    <article class="card unit" aria-label={`unit ${row.unit}`}>
      <h3>
        Unit {row.unit} of layer {told.layer}
      </h3>
      <p>It {row.words}.</p>
      {row.before !== undefined && row.after !== undefined && (
        <p class="hint">
          Its effect was <span class="number">{signed(row.before)}</span> before and is{" "}
          <span class="number">{signed(row.after)}</span> after.
        </p>
      )}
      {looked.length > 0 && (
        <>
          <div class="unit-pictures">
            {looked.map(({ title, frames }) => (
              <figure key={title}>
                <Picture frame={frames[0]!} alt={`unit ${row.unit}: ${title}`} />
                <figcaption class="hint">{title}</figcaption>
              </figure>
            ))}
          </div>
          {told.key !== "" && <p class="hint">{told.key}</p>}
        </>
      )}
      {liked.length > 0 ? (
        <>
          <h4>Its favourites in {place(told.data ?? "")}</h4>
          <div class="unit-pictures">
            {liked.map((frame, index) => {
              const words = row.favourites?.[index]?.words ?? "";
              return (
                <figure key={index}>
                  <Picture frame={frame} alt={`favourite ${index + 1} of unit ${row.unit}: ${words}`} />
                  <figcaption class="hint">{words}</figcaption>
                </figure>
              );
            })}
          </div>
          <p class="hint">
            These activate it most, in this data set. That is no name for it: it may answer as much to
            what is not among its few favourites.
          </p>
        </>
      ) : (
        <p class="hint">
          {row.favourites !== undefined
            ? `None of the pictures of ${place(told.data ?? "")} that were read activates it.`
            : told.complete
              ? ""
              : "Its favourite pictures are being looked for…"}
        </p>
      )}
    </article>
  );
}
