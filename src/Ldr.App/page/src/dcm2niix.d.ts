/** What the page uses of the converter, which comes without types. */
declare module "@niivue/dcm2niix" {
  interface Conversion {
    /** Whether images are compressed. */
    z(compress: "y" | "n"): Conversion;
    /** Whether a sheet of metadata is written beside each image. */
    b(sidecar: "y" | "n"): Conversion;
    run(): Promise<File[]>;
  }

  export class Dcm2niix {
    init(): Promise<boolean>;
    input(files: File[]): Conversion;
  }
}
