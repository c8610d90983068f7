import { registered } from "./panels/registry";
import { network, studio, trouble } from "./state/studio";

export function Page() {
  if (trouble.value !== null) return <p role="alert">{trouble.value}</p>;
  if (studio.value === null || network.value === null) return <p role="status">Loading…</p>;
  const shown = network.value;
  return (
    <main>
      <h1>Fluoroscope studio</h1>
      {registered()
        .filter((panel) => panel.whyNot(shown) === null)
        .map(({ id, title, view: View }) => (
          <section key={id} id={id} aria-labelledby={`${id}-title`}>
            <h2 id={`${id}-title`}>{title}</h2>
            <View network={shown} />
          </section>
        ))}
    </main>
  );
}
