namespace Ldr

open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats

/// Something of a subject that lies in a file: where, for messages and for looking at the file itself, and how it is read.
[<NoEquality; NoComparison>]
type Stored<'a> =
    {
        /// The file; a case inside an HDF5 file is `FILE:CASE`; nothing where the program made it.
        Where: string option
        /// The file itself; nothing where the program made it.
        File: string option
        Read: unit -> 'a
    }

/// Landmarks of one scan in world millimetres, RAS+; the i-th of two scans are the same place. Nothing: not seen in this scan.
type Landmarks = (float * float * float) option[]

/// One scan of a data set with all that belongs to it, read when it is needed.
[<NoEquality; NoComparison>]
type Subject =
    {
        /// Unique in its data set.
        Name: string
        /// Whose scan it is. A split never puts scans of one person into two parts.
        Person: string
        /// The scan, as stored.
        Image: Stored<Volume>
        Labels: Stored<Volume> option
        Points: Stored<Landmarks> option
        /// 1 where the scan counts.
        Mask: Stored<Volume> option
    }

/// Which ordered pairs (fixed, moving) are made of a list of subjects.
type Pairing =
    /// Every subject with every other, both ways.
    | AllOrdered
    /// The first with the second, the second with the first, the third with the fourth, and so on.
    | Consecutive
    /// One subject, fixed, with every other.
    | Atlas of subject: string
    /// These.
    | Listed of (string * string) list
    /// Every subject, fixed, with so many others, drawn by the seed.
    | RandomPerSubject of count: int

/// Subjects of a part of a data set, and the share of every batch that is drawn from them.
type Share =
    {
        Subjects: string list
        Fraction: float
        Pairing: Pairing
    }

/// A part that the data set itself names, such as a training set or one of several test sets.
type DataPart =
    {
        Name: string
        Shares: Share list
        /// Why the part cannot be used, such as a file that was not downloaded.
        Problem: Error option
    }

/// The subjects of a data set, in the order of their names, and the parts that it names.
[<NoEquality; NoComparison>]
type Dataset =
    {
        Name: string
        Licence: string
        Subjects: Subject list
        Parts: DataPart list
        /// The names of labels, where the data set gives them.
        LabelNames: Map<int, string>
    }

module Stored =
    /// In a file of its own.
    let file (read: string -> 'a) (path: string) : Stored<'a> =
        {
            Where = Some path
            File = Some path
            Read = fun () -> read path
        }

    /// Not in a file.
    let made (make: unit -> 'a) : Stored<'a> =
        {
            Where = None
            File = None
            Read = make
        }

module Subject =
    /// A subject that is a scan only, and its own person.
    let ofImage (name: string) (image: Stored<Volume>) : Subject =
        {
            Name = name
            Person = name
            Image = image
            Labels = None
            Points = None
            Mask = None
        }

    /// A subject with a scan and maybe labels in image files.
    let ofFiles (name: string) (image: string) (labels: string option) : Subject =
        { ofImage name (Stored.file ImageFile.Read image) with
            Labels = labels |> Option.map (Stored.file ImageFile.Read)
        }
