using System.Collections.Concurrent;
using Ldr.App.Api;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Registration;

namespace Ldr.App.Jobs;

/// <summary>A model that can be chosen.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Trained">Voxels and spacing that it was trained on, in words.</param>
internal sealed record ModelEntry(string Name, string Trained);

/// <summary>The models that are known by a name, each loaded at its first use.</summary>
internal sealed class ModelRack : IDisposable
{
    private readonly ConcurrentDictionary<string, Lazy<Loaded?>> loaded = new(StringComparer.Ordinal);

    private int warmed;

    private sealed record Loaded(StudentModel Model, StudentPredictor Predictor) : IDisposable
    {
        public Registrar Registrar { get; } = new(Predictor);

        public void Dispose()
        {
            Registrar.Dispose();
            Predictor.Dispose();
        }
    }

    /// <summary>Those that the managed engine runs.</summary>
    public IReadOnlyList<ModelEntry> Entries() =>
    [
        .. from model in ModelShelf.All()
           let held = Load(model.Name)
           where held is not null
           select new ModelEntry(
               model.Name,
               FormattableString.Invariant(
                   $"{held.Model.Size.X} × {held.Model.Size.Y} × {held.Model.Size.Z} voxels of {held.Model.Spacing.X:G3} × {held.Model.Spacing.Y:G3} × {held.Model.Spacing.Z:G3} mm")),
    ];

    /// <summary>
    /// A model's name, or <c>none</c>: of <c>auto</c> the first one, in the order of their names, in whose training range both scans lie.
    /// </summary>
    /// <exception cref="ApiException">No model has the name.</exception>
    public string Choose(string wanted, Volume fixedScan, Volume moving) => wanted switch
    {
        "none" => wanted,
        "auto" => ModelShelf.All()
            .Select(model => model.Name)
            .FirstOrDefault(name => Load(name)?.Predictor.Training?.Outside(fixedScan, moving).Count == 0) ?? "none",
        _ => Check(wanted),
    };

    /// <summary>The same name, if a model has it.</summary>
    /// <exception cref="ApiException">None has.</exception>
    public string Check(string name) => name is "none" or "auto" || Load(name) is not null
        ? name
        : throw ApiException.Bad($"model: give auto, none, {string.Join(", ", ModelShelf.All().Select(model => model.Name))}");

    /// <summary>The registrar of a model, or of none.</summary>
    public Registrar Registrar(string name) => name == "none" ? new Registrar() : Load(name)!.Registrar;

    /// <summary>
    /// Registers two small blobs, once, in the background, so that the first job need not wait for the compiler: with the smallest
    /// model, then without one.
    /// </summary>
    public void Warm()
    {
        if (Interlocked.Exchange(ref warmed, 1) == 0)
        {
            _ = Task.Run(() =>
            {
                string name = ModelShelf.All().Select(model => model.Name).Where(name => Load(name) is not null)
                    .MinBy(name => Load(name)!.Model.Size.X) ?? "none";
                Registrar(name).Register(Blob(0), Blob(2));
                if (name != "none")
                {
                    Registrar("none").Register(Blob(0), Blob(2));
                }
            });
        }
    }

    public void Dispose()
    {
        foreach (Lazy<Loaded?> model in loaded.Values.Where(model => model.IsValueCreated))
        {
            model.Value?.Dispose();
        }
    }

    private static Volume Blob(int shift)
    {
        const int side = 32;
        Grid grid = new(side, side, side, Affine.Identity);
        float[] values = new float[side * side * side];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = Math.Max(0, 100 - (4 * Math.Abs((i % side) - 14 - shift)) - (3 * Math.Abs((i / side % side) - 16)));
        }

        return new Volume(grid, values);
    }

    private Loaded? Load(string name) => loaded.GetOrAdd(name, static name => new Lazy<Loaded?>(() =>
        ModelShelf.Find(name) is string path && StudentModel.TryLoad(path, out StudentModel? model, out _)
            ? new Loaded(model, new StudentPredictor(model))
            : null)).Value;
}
