/** Scans that come as several files, made into one: a header beside its voxels, a series of DICOM slices. */

const NIFTI_HEADER = 348;

const ending = (name: string) => /\.[^.]*$/.exec(name.toLowerCase())?.[0] ?? "";

/** Whether a file is a header whose voxels lie in another one. */
const isHeader = (file: File) => [".mhd", ".nhdr", ".hdr"].includes(ending(file.name));

/** Whether a file has the mark of DICOM behind its preamble. */
async function isDicom(file: File): Promise<boolean> {
  return (await file.slice(128, 132).text()) === "DICM";
}

/** The file that a header names, or the only other one. */
function voxelsOf(named: string | undefined, header: File, files: File[]): File {
  const others = files.filter((file) => file !== header);
  const name = named?.trim().split(/[\\/]/).pop();
  const found = others.find((file) => file.name === name) ?? (others.length === 1 ? others[0] : undefined);
  if (!found) throw new Error(`${header.name}: its voxels are in ${name ?? "another file"}; choose both files together`);
  return found;
}

async function joined(header: File, files: File[]): Promise<File> {
  const stem = header.name.slice(0, -ending(header.name).length);
  if (ending(header.name) === ".hdr") {
    // A NIfTI pair: the same header, with the mark and the place of a single file.
    const bytes = new Uint8Array(await header.slice(0, NIFTI_HEADER).arrayBuffer());
    const view = new DataView(bytes.buffer);
    if (String.fromCharCode(...bytes.slice(344, 347)) !== "ni1") throw new Error(`${header.name}: is no header of a NIfTI pair`);
    const littleEndian = view.getInt32(0, true) === NIFTI_HEADER;
    bytes[345] = "+".charCodeAt(0);
    view.setFloat32(108, NIFTI_HEADER + 4, littleEndian);
    return new File([bytes, new Uint8Array(4), voxelsOf(`${stem}.img`, header, files)], `${stem}.nii`);
  }
  const text = await header.text();
  if (ending(header.name) === ".mhd") {
    const line = /^ElementDataFile\s*=\s*(.*)$/m;
    const voxels = voxelsOf(line.exec(text)?.[1], header, files);
    return new File([text.replace(line, "ElementDataFile = LOCAL").trimEnd(), "\n", voxels], `${stem}.mha`);
  }
  const line = /^data ?file:\s*(.*)\r?\n?/im;
  const voxels = voxelsOf(line.exec(text)?.[1], header, files);
  return new File([text.replace(line, "").trimEnd(), "\n\n", voxels], `${stem}.nrrd`);
}

/** The converter is large: it comes when it is needed. */
async function ofSeries(files: File[]): Promise<File> {
  const { Dcm2niix } = await import("@niivue/dcm2niix");
  const converter = new Dcm2niix();
  await converter.init();
  const made: File[] = (await converter.input(files).z("n").b("n").run()).filter((file: File) => file.name.endsWith(".nii"));
  if (made.length === 0) throw new Error(`${files[0].name}: no image could be made of these ${files.length} DICOM files`);
  if (made.length > 1) throw new Error(`${files[0].name}: these DICOM files hold ${made.length} images; choose those of one series`);
  return made[0];
}

/** The one file that a scan is sent as. */
export async function oneFile(files: File[]): Promise<File> {
  const header = files.find(isHeader);
  if (header) return joined(header, files);
  if (await isDicom(files[0])) return ofSeries(files);
  return files[0];
}

/** The scans among files that were dropped together: those that belong together are one. */
export async function scansAmong(files: File[]): Promise<File[][]> {
  if (files.length < 2) return files.map((file) => [file]);
  if (files.some(isHeader) || (await isDicom(files[0]))) return [files];
  return files.map((file) => [file]);
}
