/** The server's API, as openapi.json describes it. */

export interface StoredFile {
  id: string;
  name: string;
  role: "image" | "transform" | "points";
  size: number;
  folder_path?: string;
  grid?: string;
  volumes: number;
}

export interface JobRequest {
  fixed: string;
  moving: string;
  labels?: string;
  fixed_labels?: string;
  fixed_mask?: string;
  moving_mask?: string;
  points?: string;
  model?: string;
  affine?: string;
  init?: string;
  refine?: number;
  budget?: number;
  control_spacing?: number;
  log_jacobian?: number;
  diffeomorphic?: boolean;
  jacobian_bounds?: [number, number];
  volume?: number;
}

export interface Download {
  title: string;
  name: string;
  endings: string[];
}

/** How well the label maps of both scans agree: Dice. */
export interface Agreement {
  dice_before: number;
  dice: number;
  per_label: { label: number; dice_before: number; dice: number }[];
}

export interface Result {
  labels?: Agreement;
  verdict: "ok" | "look" | "failed";
  reasons: string[];
  milliseconds: Record<string, number>;
  affine: number[];
  [key: string]: unknown;
}

export interface Job {
  id: string;
  number: number;
  state: "queued" | "running" | "done" | "failed" | "cancelled";
  stage?: string;
  stage_started: number;
  milliseconds?: number;
  fixed: { id: string; name: string };
  moving: { id: string; name: string };
  model?: string;
  error?: string;
  result?: Result;
  command?: string;
  downloads: Download[];
  layers: string[];
  request: JobRequest;
}

export interface About {
  version: string;
  has_folder: boolean;
  folder_name?: string;
  kept: boolean;
  has_lists: boolean;
  models: { name: string; trained: string }[];
}

export interface FolderEntry {
  name: string;
  path: string;
  kind: "folder" | "run" | "cohort" | "image" | "transform" | "points";
  size: number;
}

/** A refusal: its message is the server's line. */
export class Refused extends Error {}

export async function ask(address: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address, init);
  } catch {
    throw new Refused("ldr-fs app does not answer; is it still running?");
  }
  if (response.ok) return response;
  const refusal = await response.json().catch(() => ({ error: `the server says ${response.status}` }));
  throw new Refused(refusal.error);
}

async function json<T>(address: string, init?: RequestInit): Promise<T> {
  return (await ask(address, init)).json() as Promise<T>;
}

function post<T>(address: string, body: unknown): Promise<T> {
  return json(address, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
}

const path = (value: string) => `path=${encodeURIComponent(value)}`;

export const api = {
  about: () => json<About>("/api/about"),
  upload: (file: File) =>
    json<StoredFile>(`/api/files?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file }),
  choose: (chosen: string) => post<StoredFile>("/api/files/choose", { path: chosen }),
  view: (file: string, volume?: number) => `/api/files/${file}/view.nii${volume ? `?volume=${volume}` : ""}`,
  register: (request: JobRequest) => post<Job>("/api/jobs", request),
  cancel: (id: string) => json<Job>(`/api/jobs/${id}`, { method: "DELETE" }),
  layer: (id: string, name: string) => `/api/jobs/${id}/layers/${name}`,
  download: (id: string, name: string) => `/api/jobs/${id}/files/${name}`,
  apply: (id: string, file: string, kind: string) =>
    post<{ name: string; address: string }>(`/api/jobs/${id}/apply`, { file, kind }),
  folder: (at: string) =>
    json<{ path: string; entries: FolderEntry[]; cut: boolean }>(`/api/folder?${path(at)}`),
  run: (at: string) =>
    json<{ name: string; trainings: { name: string; steps: number }[]; table?: string; has_picture: boolean }>(
      `/api/run?${path(at)}`,
    ),
  metrics: async (at: string, offset: number) =>
    new Uint8Array(await (await ask(`/api/run/metrics?${path(at)}&offset=${offset}`)).arrayBuffer()),
  picture: (at: string) => `/api/run/pairs.png?${path(at)}`,
  cohort: (at: string) =>
    json<{ columns: string[]; rows: string[][]; has_page: boolean }>(`/api/cohort?${path(at)}`),
  pair: (at: string) =>
    json<{ id: string; result?: Result; fixed?: string; moving?: string; moved?: string; labels?: string }>(
      `/api/cohort/pair?${path(at)}`,
    ),
  groupPage: (at: string) => `/api/cohort/group.html?${path(at)}`,
};
