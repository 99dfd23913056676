using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using Ldr.App.Api;
using Ldr.App.Sessions;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.App.Jobs;

/// <summary>
/// A job's folder: its card, its numbers, and files that are made of them when somebody asks. Every file that is given out is complete.
/// </summary>
internal sealed class JobFolder(string path, Inbox inbox, ITransformFormats formats)
{
    /// <summary>Nodes of the deformation's lattice along its longest axis, at most.</summary>
    private const int MostNodes = 64;

    /// <summary>The layer that a job has first, while the result is still checked.</summary>
    public const string MovedLayer = "moved";

    private const string MovedName = "layer-moved.nii";

    private static readonly string[] ImageEndings = [".nii.gz", ".nii", ".mha", ".nrrd"];

    private static readonly ConcurrentDictionary<string, Lock> Gates = new(StringComparer.Ordinal);

    /// <summary>The folder.</summary>
    public string Path => path;

    private string CardPath => At("job.json");

    /// <summary>Writes what is told of the job.</summary>
    public void Write(Job job)
    {
        Directory.CreateDirectory(path);
        AtomicFile.Write(CardPath, stream => JsonSerializer.Serialize(stream, job, AppJson.Default.Job));
    }

    /// <summary>What is told of the job; null where that is damaged or missing.</summary>
    public Job? Read()
    {
        try
        {
            return File.Exists(CardPath) ? JsonSerializer.Deserialize(File.ReadAllBytes(CardPath), AppJson.Default.Job) : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    public void Remove()
    {
        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true);
        }
    }

    /// <summary>What a finished job offers.</summary>
    public IReadOnlyList<Download> Downloads(JobRequest request)
    {
        List<Download> offered =
        [
            new("Moved scan", "moved", ImageEndings),
            new("Transform", "transform", formats.HasLists ? [.. ImageEndings, ".h5"] : ImageEndings),
            new("Inverse transform", "inverse", ImageEndings),
            new("Initial alignment", "affine", [".txt", ".tfm", ".mat"]),
            new("Volume changes (Jacobian)", "jacobian", ImageEndings),
            new("Report", "report", [".html"]),
            new("Numbers", "result", [".json"]),
        ];
        if (request.Labels is not null)
        {
            offered.Insert(1, new("Moved labels", "moved-labels", ImageEndings));
        }

        if (request.Points is string points && Inbox.KindOf(inbox.Get(points).Name) is (string ending, _))
        {
            offered.Insert(1, new("Points in the moving scan", "moved-points", [ending]));
        }

        return offered;
    }

    /// <summary>A download, made now where it was not yet.</summary>
    /// <exception cref="ApiException">The job does not offer it.</exception>
    public string Made(Job job, string name)
    {
        Download? download = job.Downloads.FirstOrDefault(d => d.Endings.Any(ending => name == d.Name + ending));
        return download is null
            ? throw ApiException.NotFound("the job has no such file")
            : Once(name, file => Make(job, download.Name, file));
    }

    /// <summary>A layer for the page, made now where it was not yet.</summary>
    /// <exception cref="ApiException">The job does not have it.</exception>
    public string Layer(Job job, string name) => !job.Layers.Contains(name)
        ? throw ApiException.NotFound("the job has no such layer")
        : name switch
        {
            MovedLayer => Once(MovedName, file => ViewImage.Write(file, RawResult.Open(path).Moved())),
            "jacobian" => Once("layer-jacobian.nii", file => ImageFile.Write(file, Doublings(RawResult.Open(path).Field()))),
            "grid" => Once("layer-grid.bin", file => WriteLattice(file, RawResult.Open(path).Deformation())),
            "labels" => Once("layer-labels.nii", file => ImageFile.Write(file, MovedLabels(job))),
            _ => inbox.Get(job.Request.FixedLabels!).Path,
        };

    /// <summary>Writes what <see cref="MovedLayer"/> shows.</summary>
    public void WriteMoved(Volume moved) => ViewImage.Write(At(MovedName), moved);

    /// <summary>Moves another image, label map or point file by the job's transform, as <c>ldr-fs apply</c> does.</summary>
    /// <param name="job">The job, which is done.</param>
    /// <param name="file">What is moved.</param>
    /// <param name="kind"><c>image</c>, <c>labels</c>, or <c>points</c>, which are marked on the fixed scan.</param>
    /// <param name="volume">Which volume of a file that holds several.</param>
    /// <returns>The name of the file that was made, for <see cref="Applied"/>.</returns>
    public string Apply(Job job, StoredFile file, string kind, int? volume)
    {
        Transform transform = TransformFile.Read(Made(job, "transform.nii"));
        RawResult raw = RawResult.Open(path);
        string ending = Inbox.KindOf(file.Name)!.Value.Ending;
        string name = $"applied-{file.Id}-{kind}{(volume is int index ? $"-{index}" : string.Empty)}{ending}";
        return System.IO.Path.GetFileName(Once(name, target =>
        {
            if (kind == "points")
            {
                WritePoints(PointFile.Read(file.Path), transform, raw, target);
                return;
            }

            Interpolation interpolation = kind == "labels" ? Interpolation.Label : Interpolation.Linear;
            ImageFile.Write(target, Resampler.Apply(ImageFile.Read(file.Path, volume), transform, raw.FixedGrid, interpolation));
        }));
    }

    /// <summary>What <see cref="Apply"/> made.</summary>
    /// <exception cref="ApiException">There is none of that name.</exception>
    public string Applied(string name)
    {
        bool known = name.StartsWith("applied-", StringComparison.Ordinal) && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.');
        return known && File.Exists(At(name)) ? At(name) : throw ApiException.NotFound("the job has no such file");
    }

    private static void WritePoints(PointFile points, Transform transform, RawResult raw, string target)
    {
        List<(double X, double Y, double Z)> moved =
            [.. points.ToWorld(raw.FixedGrid).Select(p => transform.MapPoint(p.X, p.Y, p.Z))];
        points.Write(target, moved, raw.MovingGrid);
    }

    /// <summary>Local growth in doublings: 0 for none, 1 for twice the volume; -4 where the deformation folds.</summary>
    private static Volume Doublings(DisplacementField field)
    {
        Volume determinants = Jacobian.Determinants(field);
        return new Volume(
            field.Grid,
            Array.ConvertAll(determinants.Values, d => d > 0 ? Math.Clamp(MathF.Log2(d), -3.9f, 4) : -4));
    }

    /// <summary>The deformation on a coarse lattice: length of the header (4 bytes), header (JSON), x, y and z in mm, RAS+, float32.</summary>
    private static void WriteLattice(string file, DisplacementField deformation)
    {
        Grid grid = deformation.Grid;
        int step = (Math.Max(grid.Nx, Math.Max(grid.Ny, grid.Nz)) + MostNodes - 1) / MostNodes;
        int Count(int size) => ((size + step - 2) / step) + 1;
        Grid nodes = new(
            Count(grid.Nx), Count(grid.Ny), Count(grid.Nz), Affine.Scaling(step, step, step).Then(grid.VoxelToWorld));
        float[] vectors = deformation.ResampleTo(nodes).Vectors;
        int n = vectors.Length / 3;
        for (int i = 0; i < n; i++)
        {
            (double x, double y, double z) = nodes.VoxelToWorld.ApplyLinear(vectors[i], vectors[n + i], vectors[(2 * n) + i]);
            (vectors[i], vectors[n + i], vectors[(2 * n) + i]) = ((float)x, (float)y, (float)z);
        }

        string maps = string.Join(',', nodes.WorldToVoxel.ToRows().Select(v => v.ToString("R", System.Globalization.CultureInfo.InvariantCulture)));

        // Padded, so that what follows starts at a multiple of 4.
        string header = FormattableString.Invariant($"{{\"size\":[{nodes.Nx},{nodes.Ny},{nodes.Nz}],\"world_to_node\":[{maps}]}}");
        byte[] text = Encoding.ASCII.GetBytes(header.PadRight((header.Length + 3) & ~3));
        AtomicFile.Write(file, stream =>
        {
            stream.Write(BitConverter.GetBytes(text.Length));
            stream.Write(text);
            stream.Write(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(vectors));
        });
    }

    private string At(string name) => System.IO.Path.Combine(path, name);

    private Volume MovedLabels(Job job)
    {
        StoredFile labels = inbox.Get(job.Request.Labels!);
        return Warp.Nearest(
            ImageFile.Read(labels.Path, labels.Volumes > 1 ? job.Request.Volume : null), RawResult.Open(path).Field());
    }

    private void Make(Job job, string name, string file)
    {
        RawResult raw = RawResult.Open(path);
        switch (name)
        {
            case "moved":
                ImageFile.Write(file, raw.Moved());
                break;
            case "transform":
                formats.Write(
                    file, file.EndsWith(".h5", StringComparison.Ordinal) ? raw.Transform() : new Transform.Dense(raw.Field()));
                break;
            case "inverse":
                formats.Write(file, new Transform.Dense(raw.Inverse()));
                break;
            case "affine":
                formats.Write(file, new Transform.Linear(raw.Initial));
                break;
            case "jacobian":
                ImageFile.Write(file, Jacobian.Determinants(raw.Field()));
                break;
            case "moved-labels":
                ImageFile.Write(file, MovedLabels(job));
                break;
            case "moved-points":
                WritePoints(PointFile.Read(inbox.Get(job.Request.Points!).Path), raw.Transform(), raw, file);
                break;
            case "result":
                AtomicFile.WriteText(file, job.Result!.ToJsonString());
                break;
            default:
                throw ApiException.NotFound("the report of this job was not written; run it again");
        }
    }

    /// <summary>The file of a name, made by the first who asks for it.</summary>
    private string Once(string name, Action<string> make)
    {
        string file = At(name);
        lock (Gates.GetOrAdd(path, _ => new Lock()))
        {
            if (!File.Exists(file))
            {
                make(file);
            }
        }

        return file;
    }
}
