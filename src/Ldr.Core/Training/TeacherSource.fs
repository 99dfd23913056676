namespace Ldr

open System.IO

/// A teacher that is none of its experiment's trainings, and is not made on the way.
type TeacherSource =
    /// A model's file.
    | TeacherModel of file: string
    /// A folder of fields, see `FieldStore`.
    | TeacherFields of folder: string

module TeacherSource =
    /// What is meant by the path of a model or of a folder of fields, by the folder of a finished run, or by the name of a
    /// shipped model.
    let find (teacher: string) : Result<TeacherSource, Error> =
        let has (name: string) =
            File.Exists(Path.Combine(teacher, name))

        if
            Directory.Exists teacher
            && not (has "experiment.json" || has "model.safetensors")
        then
            Ok(TeacherFields teacher)
        else
            ModelFile.resolve teacher |> Result.map TeacherModel
