// The files that a job left, to be kept.
import type { JobSlot } from "../../state/job";

/** What a file is, by the end of its name. */
const WHAT: Record<string, string> = {
  png: "picture",
  gif: "moving picture",
  csv: "table",
  json: "numbers",
  html: "page",
};

interface Props {
  job: JobSlot;
}

export function Downloads({ job }: Props) {
  const standing = job.standing.value;
  const id = job.id.value;
  if (standing.is !== "done" || id === null || standing.end.files.length === 0) return null;
  return <Files id={id} files={standing.end.files} />;
}

export function Files({ id, files }: { id: string; files: string[] }) {
  return (
    <ul role="list" class="row downloads" aria-label="Files to keep">
      {files.map((name) => (
        <li key={name}>
          <a class="button small" href={fileOf(id, name)} download={name}>
            {kindOf(name)} <span class="hint">{name}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}

/** Where a file of a job is; names and ids are data, whatever they look like. */
export function fileOf(id: string, name: string): string {
  return `api/jobs/${encodeURIComponent(id)}/files/${encodeURIComponent(name)}`;
}

function kindOf(name: string): string {
  const end = name.slice(name.lastIndexOf(".") + 1).toLowerCase();
  return WHAT[end] === undefined ? name : `${end.toUpperCase()}, ${WHAT[end]}`;
}
