using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Threading.Channels;
using Ldr.App.Folders;
using Ldr.App.Jobs;
using Ldr.App.Sessions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;

namespace Ldr.App.Api;

/// <summary>The API's addresses; <c>openapi.json</c> describes them, and a test compares the two.</summary>
internal sealed class Endpoints(Func<Task<About>> about, Inbox inbox, JobQueue queue, ModelRack models, DataFolder? data, ViewFiles views, CancellationToken ending)
{
    private DataFolder Data => data ?? throw ApiException.NotFound("no folder was given to ldr-fs app: --folder DIR");

    public void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/api/openapi.json", context => Send(context, Gate.Resource("openapi.json"), "application/json"));
        routes.MapGet("/api/about", async context =>
        {
            await Json(context, await about().ConfigureAwait(false), AppJson.Default.About).ConfigureAwait(false);

            // When the page stands, and before anybody has found two files.
            _ = Task.Delay(TimeSpan.FromSeconds(1.5), ending).ContinueWith(_ => models.Warm(), TaskContinuationOptions.OnlyOnRanToCompletion);
        });
        MapFiles(routes);
        MapJobs(routes);
        MapFolders(routes);
    }

    private void MapFiles(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/api/files", context => Json(context, [.. inbox.All], AppJson.Default.StoredFileArray));
        routes.MapPost("/api/files", Upload);
        routes.MapPost("/api/files/choose", async context =>
        {
            models.Warm();
            FolderPath chosen = await Body(context, AppJson.Default.FolderPath).ConfigureAwait(false);
            await Json(context, inbox.Choose(chosen.Path), AppJson.Default.StoredFile, 201).ConfigureAwait(false);
        });
        routes.MapDelete("/api/files/{id}", context =>
        {
            inbox.Remove(Value(context, "id"));
            context.Response.StatusCode = 204;
            return Task.CompletedTask;
        });
        routes.MapGet("/api/files/{id}/view.nii", async context =>
        {
            StoredFile file = inbox.Get(Value(context, "id"));
            int? volume = Volume(context);
            string path = await Task.Run(() => views.Of(file, volume)).ConfigureAwait(false);
            await SendFile(context, path, null).ConfigureAwait(false);
        });
    }

    private void MapJobs(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/api/jobs", context => Json(context, queue.All, AppJson.Default.IReadOnlyListJob));
        routes.MapPost("/api/jobs", async context =>
        {
            JobRequest request = await Body(context, AppJson.Default.JobRequest).ConfigureAwait(false);
            Job job = queue.Post(request);
            context.Response.Headers.Location = $"/api/jobs/{job.Id}";
            await Json(context, job, AppJson.Default.Job, 202).ConfigureAwait(false);
        });
        routes.MapGet("/api/jobs/{id}", context => Json(context, queue.Get(Value(context, "id")), AppJson.Default.Job));
        routes.MapDelete("/api/jobs/{id}", context => Json(context, queue.CancelOrRemove(Value(context, "id")), AppJson.Default.Job));
        routes.MapGet("/api/events", context => Events(context, null));
        routes.MapGet("/api/jobs/{id}/events", context => Events(context, queue.Get(Value(context, "id")).Id));
        routes.MapGet("/api/jobs/{id}/files/{name}", async context =>
        {
            (Job job, JobFolder folder) = queue.Done(Value(context, "id"));
            string name = Value(context, "name");
            string path = await Task.Run(() => folder.Made(job, name)).ConfigureAwait(false);
            await SendFile(context, path, name).ConfigureAwait(false);
        });
        routes.MapGet("/api/jobs/{id}/layers/{name}", async context =>
        {
            string name = Value(context, "name");
            (Job job, JobFolder folder) = queue.WithLayer(Value(context, "id"), name);
            string path = await Task.Run(() => name == "fixed_labels" && job.Layers.Contains(name)
                ? views.Of(inbox.Get(job.Request.FixedLabels!), job.Request.Volume)
                : folder.Layer(job, name)).ConfigureAwait(false);
            await SendFile(context, path, null).ConfigureAwait(false);
        });
        routes.MapPost("/api/jobs/{id}/apply", Apply);
        routes.MapGet("/api/jobs/{id}/applied/{name}", context =>
        {
            (_, JobFolder folder) = queue.Done(Value(context, "id"));
            string name = Value(context, "name");
            return SendFile(context, folder.Applied(name), name);
        });
    }

    private void MapFolders(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/api/folder", context => Json(context, Data.List(Path(context)), AppJson.Default.FolderListing));
        routes.MapGet("/api/run", context => Json(context, RunFolderReader.Read(Data.FolderAt(Path(context))), AppJson.Default.RunView));
        routes.MapGet("/api/run/metrics", context => Send(
            context,
            RunFolderReader.Metrics(
                Data.FolderAt(Path(context)), long.TryParse(context.Request.Query["offset"], out long offset) ? offset : 0),
            "application/jsonl"));
        routes.MapGet("/api/run/pairs.png", context => SendFile(context, Data.FileAt(Path(context) + "/pairs.png"), null));
        routes.MapGet("/api/cohort", context => Json(context, CohortReader.Read(Data.FolderAt(Path(context))), AppJson.Default.CohortView));
        routes.MapGet("/api/cohort/pair", context => Json(context, CohortReader.Pair(Data, Path(context)), AppJson.Default.PairView));
        routes.MapGet("/api/cohort/group.html", context =>
        {
            // A page of its own, apart from this one: it cannot ask the API for anything.
            context.Response.Headers.ContentSecurityPolicy =
                "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'";
            return SendFile(context, Data.FileAt(Path(context) + "/group.html"), null);
        });
    }

    private async Task Upload(HttpContext context)
    {
        string name = context.Request.Query["name"].ToString();
        if (name.Length == 0)
        {
            throw ApiException.Bad("name: say what the file is called, as in POST /api/files?name=scan.nii.gz");
        }

        if (context.Request.ContentLength > inbox.MostBytes)
        {
            throw ApiException.TooLarge(
                $"{Inbox.ShownName(name)}: is longer than {inbox.MostBytes >> 20} MB, which is the most that is taken");
        }

        models.Warm();
        context.Features.Get<IHttpMaxRequestBodySizeFeature>()!.MaxRequestBodySize = inbox.MostBytes + 1;
        StoredFile file = await inbox.Receive(name, context.Request.Body, context.RequestAborted).ConfigureAwait(false);
        await Json(context, file, AppJson.Default.StoredFile, 201).ConfigureAwait(false);
    }

    private async Task Apply(HttpContext context)
    {
        (Job job, JobFolder folder) = queue.Done(Value(context, "id"));
        ApplyRequest request = await Body(context, AppJson.Default.ApplyRequest).ConfigureAwait(false);
        if (request.Kind is not ("image" or "labels" or "points"))
        {
            throw ApiException.Bad("kind: give image, labels or points");
        }

        StoredFile file = inbox.Get(request.File);
        if ((file.Role == FileRole.Points) != (request.Kind == "points") || file.Role == FileRole.Transform)
        {
            throw ApiException.Bad($"kind: {file.Name} holds no {request.Kind}");
        }

        string name = await Task.Run(() => folder.Apply(job, file, request.Kind, request.Volume)).ConfigureAwait(false);
        Moved moved = new($"moved-{file.Name}", $"/api/jobs/{job.Id}/applied/{name}");
        await Json(context, moved, AppJson.Default.Moved, 201).ConfigureAwait(false);
    }

    /// <summary>Server-sent events named <c>job</c>, each with a whole job; those of one job end with it.</summary>
    private async Task Events(HttpContext context, string? only)
    {
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, ending);
        context.Response.ContentType = "text/event-stream";
        try
        {
            await foreach (string text in Told(only, stop.Token).ConfigureAwait(false))
            {
                await context.Response.WriteAsync(text, stop.Token).ConfigureAwait(false);
                await context.Response.Body.FlushAsync(stop.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // The page was closed, or the program ends.
        }
    }

    private async IAsyncEnumerable<string> Told(string? only, [EnumeratorCancellation] CancellationToken stop)
    {
        static string Text(Job job) => $"event: job\ndata: {JsonSerializer.Serialize(job, AppJson.Default.Job)}\n\n";
        (ChannelReader<Job> changes, IDisposable listening) = queue.Listen();
        using (listening)
        {
            yield return ": hello\n\n";
            foreach (Job job in only is null ? queue.All : [queue.Get(only)])
            {
                yield return Text(job);
                if (only is not null && job.IsOver)
                {
                    yield break;
                }
            }

            await foreach (Job job in changes.ReadAllAsync(stop).ConfigureAwait(false))
            {
                if (only is null || job.Id == only)
                {
                    yield return Text(job);
                    if (only is not null && job.IsOver)
                    {
                        yield break;
                    }
                }
            }
        }
    }

    private static string Value(HttpContext context, string name) => context.Request.RouteValues[name]?.ToString() ?? string.Empty;

    private static string Path(HttpContext context) => context.Request.Query["path"].ToString();

    private static int? Volume(HttpContext context) => int.TryParse(context.Request.Query["volume"], out int volume) ? volume : null;

    private static async Task<T> Body<T>(HttpContext context, JsonTypeInfo<T> type)
    {
        try
        {
            return await JsonSerializer.DeserializeAsync(context.Request.Body, type, context.RequestAborted).ConfigureAwait(false)
                ?? throw ApiException.Bad("the body is empty; JSON is wanted");
        }
        catch (JsonException error)
        {
            throw ApiException.Bad($"the body is wrong JSON: {error.Message.Split('\n')[0]}");
        }
    }

    private static Task Json<T>(HttpContext context, T value, JsonTypeInfo<T> type, int status = 200)
    {
        context.Response.StatusCode = status;
        return context.Response.WriteAsJsonAsync(value, type, "application/json", context.RequestAborted);
    }

    private static async Task Send(HttpContext context, byte[] bytes, string type)
    {
        context.Response.ContentType = type;
        context.Response.ContentLength = bytes.Length;
        await context.Response.Body.WriteAsync(bytes, context.RequestAborted).ConfigureAwait(false);
    }

    /// <summary>A file, to be saved under a name where there is one.</summary>
    private static async Task SendFile(HttpContext context, string path, string? saveAs)
    {
        context.Response.ContentType = System.IO.Path.GetExtension(path) switch
        {
            ".html" => "text/html; charset=utf-8",
            ".png" => "image/png",
            ".json" => "application/json",
            _ => "application/octet-stream",
        };
        if (saveAs is not null)
        {
            context.Response.Headers.ContentDisposition = $"attachment; filename=\"{saveAs}\"";
        }

        context.Response.ContentLength = new FileInfo(path).Length;
        await context.Response.SendFileAsync(path, context.RequestAborted).ConfigureAwait(false);
    }
}
